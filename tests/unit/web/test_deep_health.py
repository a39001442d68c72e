"""What POST /deep-health says beside the verdict."""

import json

from app.web.deep_health import _report


def test_the_verdict_keeps_its_name_whatever_a_model_calls_its_results() -> None:
    text = _report([], 0.012, {"status": [7], "seconds": 3}).get_data(as_text=True)
    assert text.startswith('{"status":"healthy","inference_time":"0.012s"')
    assert json.loads(text)["seconds"] == 3
