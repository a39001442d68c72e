"""The settings as tables: for a terminal, and for docs/reference/settings.md."""

from app.settings import Settings, declarations


def _shown(settings: Settings, name: str, *, secret: bool) -> str:
    value = getattr(settings, name)
    if value is None:
        return "-"
    return "(set)" if secret else str(value)


def settings_in_force(settings: Settings) -> str:
    """Return each variable with its value and where that came from."""
    rows = [("name", "value", "from", "allowed")]
    for declared in declarations():
        meta = declared.metadata
        value = _shown(settings, declared.name, secret=meta["secret"])
        rows.append(
            (declared.name.upper(), value, settings.origin[declared.name], meta["kind"].allowed)
        )
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, (*widths, 0), strict=True)).rstrip()
        for row in rows
    )


def settings_markdown() -> str:
    """Return docs/reference/settings.md's table."""
    rows = ["| name | default | allowed | meaning |", "|---|---|---|---|"]
    for declared in declarations():
        meta = declared.metadata
        names = ", ".join(f"`{name}`" for name in (*meta["first"], declared.name.upper()))
        default = meta["shown"] or str(meta["default"]).lower()
        if isinstance(meta["default"], str):
            default = f"`{meta['default']}`"
        rows.append(f"| {names} | {default} | {meta['kind'].allowed} | {meta['meaning']} |")
    return "\n".join(rows) + "\n"
