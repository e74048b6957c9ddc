// Cell functions of the market table, the keyboard, and the watch over the page's own process.
"use strict";

window.cs = (() => {
  const DASH = "–";
  const RIGHT = "ag-right-aligned-cell "; // a cellClass of one's own replaces the one of the column's type
  const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
  const shown = (format) => ({ value }) => (isNumber(value) ? format(value) : DASH);

  const priceText = (value) => {
    const digits = value >= 1000 ? 2 : value >= 1 ? 4 : 6;
    return value >= 1e-4 ? value.toFixed(digits) : value.toPrecision(4);
  };
  const volumeText = (value) => {
    for (const [size, unit] of [[1e9, "B"], [1e6, "M"], [1e3, "k"]]) {
      if (value >= size) return (value / size).toFixed(value >= 100 * size ? 0 : 1) + " " + unit;
    }
    return value.toFixed(0);
  };
  const ageText = (value) => (value < 100 ? value.toFixed(0) + " s" : Math.round(value / 60) + " min");
  const sign = (value, digits) => (value > 0 ? "+" : "") + value.toFixed(digits);
  const lower = (value) => String(value ?? "").toLowerCase();

  // A row without the figure sorts last in both directions.
  const compare = (a, b, nodeA, nodeB, isDescending) => {
    if (isNumber(a) && isNumber(b)) return a - b;
    if (isNumber(a) === isNumber(b)) return 0;
    return isNumber(a) === isDescending ? 1 : -1;
  };

  const scoreStyle = ({ value }) => {
    if (!isNumber(value)) return { backgroundImage: "none" };
    const half = Math.min(Math.abs(value), 100) / 2;
    const color = value >= 0 ? "rgba(38,166,154,.38)" : "rgba(239,83,80,.38)";
    const from = value >= 0 ? 50 : 50 - half;
    const to = value >= 0 ? 50 + half : 50;
    const stops = `transparent ${from}%, ${color} ${from}%, ${color} ${to}%, transparent ${to}%`;
    return { backgroundImage: `linear-gradient(90deg, ${stops})` };
  };

  const grid = () => {
    const root = document.querySelector(".cs-grid");
    return root ? getElement(root)?.api : undefined;
  };

  const selectFocused = ({ api, rowIndex }) => {
    if (rowIndex === null || rowIndex === undefined) return;
    api.getDisplayedRowAtIndex(rowIndex)?.setSelected(true, true);
  };

  const tellSelected = ({ node }) => {
    if (node.isSelected()) emitEvent("cs-select", node.id);
  };

  const countShown = ({ api }) => {
    const place = document.getElementById("cs-shown");
    if (!place) return;
    let all = 0;
    api.forEachNode(() => (all += 1));
    const count = api.getDisplayedRowCount();
    place.textContent = count === all ? `${all} symbols` : `${count} of ${all} symbols`;
  };

  const focusFilter = () => {
    const input = document.querySelector(".cs-filter input");
    input?.focus();
    input?.select();
  };

  const focusTable = () => {
    const api = grid();
    if (!api || api.getDisplayedRowCount() === 0) return;
    api.ensureIndexVisible(0);
    api.setFocusedCell(0, "symbol");
  };

  const onKey = (event) => {
    const isTyping = event.target.closest?.("input, textarea") !== null;
    if (event.key === "/" && !isTyping) {
      event.preventDefault();
      focusFilter();
    } else if (isTyping && (event.key === "ArrowDown" || event.key === "Enter")) {
      if (event.target.closest(".cs-filter")) focusTable();
    }
  };

  const onClick = (event) => {
    const row = event.target.closest?.("[data-symbol]");
    if (row) emitEvent("cs-open", row.dataset.symbol);
  };

  // The clock changes each second as long as the page's process lives; if it stops, all of this is old.
  const SILENT_MS = 3500;
  let heardAt = null;
  const watch = () => {
    const clock = document.getElementById("cs-clock");
    if (clock && !clock.dataset.isWatched) {
      clock.dataset.isWatched = "yes";
      heardAt = Date.now();
      new MutationObserver(() => (heardAt = Date.now())).observe(clock, {
        subtree: true, childList: true, characterData: true,
      });
    }
    if (heardAt === null) return;
    const silent = Date.now() - heardAt;
    const isDead = silent > SILENT_MS;
    document.body.classList.toggle("cs-dead", isDead);
    const banner = document.getElementById("cs-dead-banner");
    if (banner && isDead) {
      const text = `This page has lost its process since ${Math.round(silent / 1000)} s.`;
      banner.textContent = `${text} Everything below is old; do not act on it.`;
    }
  };

  document.addEventListener("keydown", onKey);
  document.addEventListener("click", onClick);
  setInterval(watch, 500);

  return {
    price: shown(priceText),
    percent: shown((value) => sign(100 * value, 1) + " %"),
    volume: shown(volumeText),
    score: shown((value) => sign(value, 1)),
    figure: shown((value) => value.toFixed(1)),
    share: shown((value) => value.toFixed(2)),
    bps: shown((value) => sign(1e4 * value, 1)),
    age: shown(ageText),
    signClass: ({ value }) => RIGHT + (!isNumber(value) || value === 0 ? "" : value > 0 ? "cs-plus" : "cs-minus"),
    wordClass: ({ value }) => "cs-word-" + lower(value).replace(/[^a-z_]/g, ""),
    qualityClass: ({ value }) =>
      RIGHT + (!isNumber(value) ? "cs-ink-no_data" : value >= 0.9 ? "" : value >= 0.88 ? "cs-ink-marginal" : "cs-ink-fail"),
    rowId: ({ data }) => data.symbol,
    rowRules: {
      "cs-row-prime": ({ data }) => lower(data?.tier) === "prime",
      "cs-row-watch": ({ data }) => lower(data?.tier) === "watch",
      "cs-row-late": ({ data, context }) => isNumber(data?.age_s) && data.age_s > context.rowLateS,
    },
    noQuickFilter: () => "",
    compare, scoreStyle, selectFocused, tellSelected, countShown, focusTable,
  };
})();
