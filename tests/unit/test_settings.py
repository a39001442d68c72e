"""Settings: declared once, checked at the start, and a wrong one says what is allowed."""

from pathlib import Path

import pytest

from app import reference
from app.settings import Settings, SettingsError, declarations

DOCS = Path(__file__).parent.parent.parent / "docs" / "reference"


def test_the_defaults_stand_without_an_environment() -> None:
    settings = Settings.read({})
    assert (settings.port, settings.drain_seconds, settings.graceful_seconds) == (8080, 60, 25)
    assert settings.state_dir == "/tmp/unbroken-8080"
    assert set(settings.origin.values()) == {"default"}


def test_an_empty_value_counts_as_unset() -> None:
    assert Settings.read({"PORT": "", "MODEL_PATH": " "}) == Settings.read({})


def test_space_around_a_value_is_no_part_of_it() -> None:
    settings = Settings.read({"PORT": " 9090\n", "HANG_SECONDS": "\t2.5 "})
    assert (settings.port, settings.hang_seconds) == (9090, 2.5)


def test_a_value_says_where_it_came_from() -> None:
    settings = Settings.read({"PORT": "9000", "AIP_HTTP_PORT": "7000"})
    assert (settings.port, settings.origin["port"]) == (7000, "environment (AIP_HTTP_PORT)")
    assert Settings.read({"PORT": "9000"}).state_dir == "/tmp/unbroken-9000"


@pytest.mark.parametrize(
    "model", ["mnist", "exported", "torchvision/vit_b_16", "a.b:C", "./a b/c.py:D"]
)
def test_every_form_of_model_is_taken(model: str) -> None:
    assert Settings.read({"MODEL": model}).model == model


@pytest.mark.parametrize(
    ("path", "model"),
    [("m.pt2", "exported"), ("/m/m.pt", "exported"), ("m.pth", "mnist"), ("m.safetensors", "mnist"),
     ("/models", "mnist"), ("/models/v1.2/", "mnist"), ("models", "mnist")],
)  # fmt: skip
def test_the_path_of_a_program_chooses_the_model_that_serves_it(path: str, model: str) -> None:
    assert Settings.read({"MODEL_PATH": path}).model == model
    assert Settings.read({"MODEL_PATH": path, "MODEL": "a:B"}).model == "a:B"


@pytest.mark.parametrize(
    "environ",
    [
        {"PORT": "eighty"}, {"PORT": "0"}, {"PORT": "65536"}, {"WORKERS": "0"},
        {"DRAIN_SECONDS": "1.5"}, {"DRAIN_SECONDS": "-1"}, {"DRAIN_UNREADY": "maybe"},
        {"MODEL": "resnet18"}, {"MODEL": "torchvision/"}, {"MODEL_PATH": "weights.pkl"},
        {"MODEL": "a b"}, {"MODEL": "dir/file.py:"}, {"MODEL": "file.py"}, {"MODEL": "a.py:B:C"},
        {"MODEL_PATH": "/models/v1.2"},
        {"DEVICE": "tpu"}, {"DEVICE": "cuda:0,cpu"}, {"MAX_BATCH": "0"},
        {"PORT": "80_80"}, {"PORT": "\N{ARABIC-INDIC DIGIT EIGHT}"}, {"HANG_SECONDS": "1_0"},
        {"REQUEST_TIMEOUT_SECONDS": "nan"}, {"REQUEST_TIMEOUT_SECONDS": "inf"},
        {"LOG_LEVEL": "LOUD"}, {"LOG_FORMAT": "xml"},
        {"EAS_METRICS_URL": "localhost:8080"}, {"EAS_METRICS_URL": "http://"},
        {"EAS_METRICS_URL": "http://host:99999"}, {"EAS_METRICS_URL": "http://me:hush@host"},
        {"EAS_METRICS_URL": "http://a b"}, {"EAS_METRICS_URL": "http://a..b/"},
        {"EAS_METRICS_URL": "http://host/ä"},
        {"STATE_DIR": "relative"}, {"STATE_DIR": "/tmp/" + "x" * 80},
    ],
)  # fmt: skip
def test_a_wrong_value_names_the_variable_the_value_and_what_is_allowed(
    environ: dict[str, str],
) -> None:
    [(name, value)] = environ.items()
    with pytest.raises(SettingsError, match=rf"{name}={value}.*allowed is"):
        Settings.read(environ)


@pytest.mark.parametrize(
    ("environ", "numbers"),
    [
        ({"GRACEFUL_SECONDS": "22"}, ("GRACEFUL_SECONDS=22", "= 23 ")),
        ({"HANG_SECONDS": "11"}, ("HANG_SECONDS=11", "(22)", "(20)")),
        ({"PLATFORM_GRACE_SECONDS": "87"}, ("PLATFORM_GRACE_SECONDS=87", "= 88 ")),
    ],
)
def test_deadlines_that_contradict_each_other_name_the_numbers(
    environ: dict[str, str], numbers: tuple[str, ...]
) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.read(environ)
    assert all(number in str(caught.value) for number in numbers)


def test_deadlines_that_just_fit_are_accepted() -> None:
    assert Settings.read({"PLATFORM_GRACE_SECONDS": "88"}).platform_grace_seconds == 88


def test_a_secret_is_shown_nowhere() -> None:
    settings = Settings.read({"AUTH_TOKEN": "hush"})
    assert settings.auth_token == "hush"
    assert "hush" not in repr(settings)
    assert "hush" not in reference.settings_in_force(settings)


@pytest.mark.parametrize("text", [" ", "\n", "\t "])
def test_a_secret_of_nothing_but_blanks_opens_no_server(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^AUTH_TOKEN is set, and blank"):
        Settings.read({"AUTH_TOKEN": text})
    assert Settings.read({"AUTH_TOKEN": ""}).auth_token is None


def test_a_quiet_that_can_never_come_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"^DRAIN_QUIET_SECONDS=100 .* DRAIN_SECONDS \(10\)"):
        Settings.read({"DRAIN_SECONDS": "10", "DRAIN_QUIET_SECONDS": "100"})
    with pytest.raises(SettingsError, match=r"^DRAIN_QUIET_SECONDS=60"):
        Settings.read({"DRAIN_SECONDS": "60", "DRAIN_QUIET_SECONDS": "60"})
    assert Settings.read({"DRAIN_SECONDS": "0", "DRAIN_QUIET_SECONDS": "5"}).drain_seconds == 0


def test_every_variable_has_a_meaning_and_shows_in_the_table() -> None:
    table = reference.settings_in_force(Settings.read({}))
    assert all(declared.metadata["meaning"].endswith(".") for declared in declarations())
    assert all(declared.name.upper() in table for declared in declarations())


def test_the_reference_page_is_what_the_declarations_say() -> None:
    assert (DOCS / "settings.md").read_text() == reference.settings_markdown()


@pytest.mark.parametrize("environ", [{}, {"MODEL_PATH": "/models/net.pt2"}])
def test_named_weights_for_a_model_without_any_are_refused(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=r"^WEIGHTS=IMAGENET1K_V2: MODEL=.* no named weights"):
        Settings.read({**environ, "WEIGHTS": "IMAGENET1K_V2"})
    assert Settings.read({**environ, "WEIGHTS": "DEFAULT"}).weights == "DEFAULT"
