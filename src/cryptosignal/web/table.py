"""The market table: its columns and how the grid treats rows. Cell functions live in assets/page.js."""

from __future__ import annotations

from typing import Any

_SILENT = "cs.noQuickFilter"


def _figure(
    field: str, title: str, hint: str, width: int, show: str, **more: Any
) -> dict[str, Any]:
    """A column of numbers: right-aligned, filtered by value, first click sorts downwards."""
    return {
        "field": field,
        "headerName": title,
        "headerTooltip": hint,
        "width": width,
        "type": "rightAligned",
        "filter": "agNumberColumnFilter",
        "sortingOrder": ["desc", "asc", None],
        ":valueFormatter": f"cs.{show}",
        ":getQuickFilterText": _SILENT,
        ":comparator": "cs.compare",
        **more,
    }


def _word(field: str, title: str, hint: str, width: int, **more: Any) -> dict[str, Any]:
    return {
        "field": field,
        "headerName": title,
        "headerTooltip": hint,
        "width": width,
        "filter": "agTextColumnFilter",
        **more,
    }


def columns() -> list[dict[str, Any]]:
    """Every column, in reading order."""
    return [
        _word("symbol", "Symbol", "contract", 106, pinned="left", cellClass="cs-cell-symbol"),
        _figure("price", "Price", "last price, USDT", 80, "price"),
        _figure("change_24h_frac", "24h", "change over 24 hours", 60, "percent",
                **{":cellClass": "cs.signClass"}),
        _figure("quote_volume_24h", "Volume", "24-hour volume, USDT", 62, "volume"),
        _figure("score", "Score", "weighted score, −100 to +100", 68, "score",
                **{":cellStyle": "cs.scoreStyle"}),
        _word("side", "Side", "the side the score looks at", 50, **{":cellClass": "cs.wordClass"}),
        _word("tier", "Tier", "prime, watch or reject", 56, **{":cellClass": "cs.wordClass"}),
        _figure("prime_strength", "Prime", "Prime strength, 0–100", 66, "figure", sort="desc"),
        _figure("p", "p", "probability of the chosen side, uncalibrated", 44, "share"),
        _figure("ev", "EV bps", "expected value after costs, basis points", 58, "bps",
                **{":cellClass": "cs.signClass"}),
        _figure("quality", "Quality", "DataQual, 0–1", 58, "share",
                **{":cellClass": "cs.qualityClass"}),
        _word("reason", "Why not Prime", "the first gate that stopped it", 200, flex=1,
              minWidth=150, tooltipField="reason"),
        _figure("age_s", "Age", "seconds since the newest price of this symbol", 52, "age"),
    ]  # fmt: skip


def grid_options(row_late_s: float) -> dict[str, Any]:
    """Options of the grid: rows keyed by symbol, so sorting, filters and selection survive updates."""
    return {
        "columnDefs": columns(),
        "rowData": [],
        "defaultColDef": {"sortable": True, "resizable": True, "suppressHeaderMenuButton": True},
        "rowHeight": 24,
        "headerHeight": 28,
        "animateRows": False,
        "suppressFieldDotNotation": True,
        "suppressColumnVirtualisation": False,
        "deltaSort": True,
        "tooltipShowDelay": 400,
        "context": {"rowLateS": row_late_s},
        "rowSelection": {
            "mode": "singleRow",
            "checkboxes": False,
            "enableClickSelection": True,
        },
        "overlayNoRowsTemplate": "No symbol to show",
        ":getRowId": "cs.rowId",
        ":onCellFocused": "cs.selectFocused",
        ":onRowSelected": "cs.tellSelected",
        ":onModelUpdated": "cs.countShown",
        ":rowClassRules": "cs.rowRules",
    }


def tier_filter(choice: str) -> dict[str, Any]:
    """The grid's filter model for a choice of the tier buttons."""
    column = {"prime": "tier", "watch": "tier", "long": "side", "short": "side"}.get(choice)
    if column is None:
        return {}
    return {column: {"filterType": "text", "type": "equals", "filter": choice}}
