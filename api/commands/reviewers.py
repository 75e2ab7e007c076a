"""Deciding about pairs that linkage left to a human."""

from typing import Annotated, Any

import typer

from api.commands import connected, review_app, the_screen


@review_app.command("list")
def review_list(
    scope: Annotated[str | None, typer.Option(help="Only pairs of this project.")] = None,
    state: Annotated[
        str, typer.Option(help="open, waiting, same, never or implied (by others).")
    ] = "open",
    most: Annotated[int, typer.Option(help="No more than these many.")] = 100,
) -> None:
    """Pairs that need a decision, those first that change most.

    What agrees isn't shown; of what differs, only where it does. × stands for a character that
    differs and isn't shown, · for one that doesn't.
    """
    asked = {"state": state, "most": most, **({"scope": scope} if scope else {})}
    with connected() as client:
        rows = client.get("/review?" + _query(asked))
    screen = the_screen()
    if screen.as_json or not rows:
        screen.table(rows, [])
        return
    for row in rows:
        screen.line(f"{row['pair']}  {row['scope']}, {row['unit_type']}: {_why(row)}")
        for name, field in row["fields"].items():
            screen.line(f"    {name:16} {_told(field)}")


def _query(asked: dict[str, Any]) -> str:
    from urllib.parse import urlencode

    return urlencode(asked)


def _why(row: dict[str, Any]) -> str:
    chance = "" if row["probability"] is None else f" ({row['probability']:.2f})"
    return f"{row['reason']}{chance}, references {row['references']}, other pairs {row['hanging']}"


def _told(field: dict[str, str]) -> str:
    """How the two differ in a field."""
    if field["state"] != "differs":
        return field["state"]
    return f"{field['one']}  {field['other']}"


Why = Annotated[str, typer.Option(help="Why, for whoever asks later.")]


@review_app.command("decide")
def review_decide(
    pair: Annotated[str, typer.Argument(help="The pair's id.")],
    verdict: Annotated[str, typer.Argument(help="same, or never.")],
    reason: Why,
) -> None:
    """Decide that two units are the same, or never are."""
    with connected() as client:
        row = client.post(f"/review/{pair}/decision", {"verdict": verdict, "reason": reason})
    the_screen().answer(row, text=_WAITING.format(pair))


@review_app.command("undo")
def review_undo(pair: Annotated[str, typer.Argument(help="The pair's id.")], reason: Why) -> None:
    """Undo what was decided about a pair: it is in review again."""
    with connected() as client:
        row = client.post(f"/review/{pair}/undo", {"reason": reason})
    the_screen().answer(row, text=_WAITING.format(pair))


_WAITING = "Pair {}: the linkage process takes it over in a moment (`schakel review list`)."
