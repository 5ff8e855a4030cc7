// The charts of the overview: drawn from samples of two seconds, as lists of numbers by view.

const SPAN = 300; // seconds shown
const STEP = 2; // seconds of a sample
const SLOW = 10; // seconds of a bar of loads, and of a point of latency
const HEIGHT = 150;
const TOP = 8, BOTTOM = 20; // pixels around what is drawn
const NARROWEST = 4; // pixels of a bar

// The columns of a sample.
const FRESH = 0, STALE = 1, MISS = 2, PASS = 3, LOADS = 4, FAILED = 5, TOOK = 6, WAITS = 7, WAITED = 8;
const COLUMNS = 9;

let duration; // seconds to text
let samples = [];
let chosen = ""; // a view, or all

export function start(show) {
  duration = show;
  for (const plot of document.querySelectorAll("[data-chart] .plot")) {
    plot.addEventListener("pointermove", (event) => point(plot, event));
    plot.addEventListener("pointerleave", () => unpoint(plot));
  }
  new ResizeObserver(draw).observe(document.querySelector("[data-chart] .plot"));
  const select = document.getElementById("view");
  select.closest("label").hidden = false;
  select.addEventListener("change", () => { chosen = select.value; draw(); });
}

export function add(more) {
  const last = samples.length ? samples[samples.length - 1].at : 0;
  const fresh = more.filter((one) => one.at > last);
  if (!fresh.length) return false;
  samples = samples.concat(fresh).filter((one) => one.at > fresh[fresh.length - 1].at - SPAN - SLOW);
  offer();
  return true;
}

// Another process answers now: its numbers are others.
export function forget() {
  samples = [];
}

function offer() {
  const select = document.getElementById("view");
  const known = new Set([...select.options].map((option) => option.value));
  const views = new Set(samples.flatMap((one) => Object.keys(one.views)));
  for (const view of [...views].sort()) {
    if (!known.has(view)) select.add(new Option(view, view));
  }
}

export function draw() {
  for (const figure of document.querySelectorAll("[data-chart]")) {
    const plot = figure.querySelector(".plot");
    if (!samples.length) {
      plot.innerHTML = '<p class="waiting">The first numbers come with the first load.</p>';
      continue;
    }
    CHARTS[figure.dataset.chart](plot);
  }
  for (const spark of document.querySelectorAll("[data-spark]")) sparkline(spark);
}

// Sums of the samples in bars of so many seconds: [begin, columns, seconds that are known] each.
function bars(seconds, view = chosen) {
  const end = samples[samples.length - 1].at;
  const found = new Map();
  for (const one of samples) {
    const begin = Math.floor(one.at / seconds) * seconds;
    if (!found.has(begin)) found.set(begin, [new Array(COLUMNS).fill(0), 0]);
    const [sums, known] = found.get(begin);
    const rows = view ? [one.views[view]] : Object.values(one.views);
    for (const row of rows) row?.forEach((value, column) => { sums[column] += value; });
    found.set(begin, [sums, known + STEP]);
  }
  const list = [...found].map(([begin, [sums, known]]) => [begin, sums, known]);
  return { end, list: list.filter(([begin]) => begin + seconds > end - SPAN) };
}

function nice(most) {
  if (most <= 0) return 1;
  const unit = 10 ** Math.floor(Math.log10(most));
  return [1, 1.2, 1.6, 2, 3, 4, 6, 8, 10].map((each) => each * unit).find((each) => each >= most);
}

function frame(plot, most, label) {
  const width = plot.clientWidth;
  const high = HEIGHT - TOP - BOTTOM;
  const y = (value) => TOP + high * (1 - value / most);
  const lines = [0, most / 2, most].map((value) =>
    `<line class="${value ? "" : "zero"}" x1="0" x2="${width}" y1="${y(value)}" y2="${y(value)}"/>`);
  const labels = [most / 2, most].map((value) => `<text x="0" y="${y(value) + 12}">${label(value)}</text>`);
  const minutes = [0, 1, 2, 3, 4].map((ago) => {
    const anchor = ago ? "middle" : "end";
    return `<text x="${width * (1 - ago / 5)}" y="${HEIGHT - 5}" text-anchor="${anchor}">` +
      `${ago ? `−${ago} min` : "now"}</text>`;
  });
  return {
    width, y, under: `<g class="grid">${lines.join("")}</g>`, over: labels.join("") + minutes.join(""),
  };
}

function put(plot, width, name, drawn, tips) {
  plot.innerHTML = `<svg role="img" aria-label="${name}" viewBox="0 0 ${width} ${HEIGHT}">${drawn}` +
    `<line class="cross" y1="${TOP}" y2="${HEIGHT - BOTTOM}" visibility="hidden"/></svg>` +
    '<div class="tip" hidden></div>';
  plot.tips = tips;
  if (plot.pointed !== undefined) show(plot);
}

const number = (value) => value >= 100 ? Math.round(value).toLocaleString("en").replaceAll(",", " ")
  : String(Math.round(value * 10) / 10);

const CHARTS = {
  answers(plot) {
    const width = plot.clientWidth;
    const pixels = (seconds) => width * seconds / SPAN;
    const seconds = STEP * Math.max(1, Math.ceil(NARROWEST / pixels(STEP)));
    const { end, list } = bars(seconds);
    const kinds = [[FRESH, "fresh"], [STALE, "stale"], [MISS, "miss"], [PASS, "pass"]];
    const total = (sums, known) => kinds.reduce((sum, [column]) => sum + sums[column], 0) / known;
    const most = nice(Math.max(...list.map(([, sums, known]) => total(sums, known))));
    const { y, under, over } = frame(plot, most, number);
    const drawn = [], tips = [];
    const totals = new Array(COLUMNS).fill(0);
    for (const [begin, sums, known] of list) {
      const left = Math.max(0, pixels(begin - end + SPAN));
      const right = Math.min(width, pixels(begin + seconds - end + SPAN));
      let below = 0;
      for (const [column, name] of kinds) {
        totals[column] += sums[column];
        const rate = sums[column] / known;
        if (rate) {
          drawn.push(rect(name, left, y(below + rate), right - left - 1, y(below) - y(below + rate)));
        }
        below += rate;
      }
      const lines = kinds.map(([column, name]) => [name, `${number(sums[column] / known)}/s`]);
      tips.push({ x: (left + right) / 2, at: end - begin, lines });
    }
    const said = kinds.map(([column, name]) => `${totals[column]} ${name}`).join(", ");
    put(plot, width, `Answers in the last five minutes: ${said}`, under + drawn.join("") + over, tips);
  },

  loads(plot) {
    const { end, list } = bars(SLOW);
    const most = Math.max(2, nice(Math.max(...list.map(([, sums]) => sums[LOADS]))));
    const { width, y, under, over } = frame(plot, most, number);
    const drawn = [], tips = [];
    let all = 0, bad = 0;
    for (const [begin, sums] of list) {
      const left = Math.max(0, width * (begin - end + SPAN) / SPAN);
      const right = Math.min(width, width * (begin + SLOW - end + SPAN) / SPAN);
      const failed = Math.min(sums[FAILED], sums[LOADS]);
      const well = sums[LOADS] - failed;
      all += sums[LOADS];
      bad += failed;
      if (failed) drawn.push(rect("failed", left, y(failed), right - left - 1, y(0) - y(failed)));
      if (well) drawn.push(rect("load", left, y(failed + well), right - left - 1, y(failed) - y(failed + well)));
      tips.push({ x: (left + right) / 2, at: end - begin, lines: [["loaded", well], ["failed", failed]] });
    }
    put(plot, width, `Loads in the last five minutes: ${all}, of which ${bad} failed`, under + drawn.join("") + over, tips);
  },

  latency(plot) {
    const { end, list } = bars(SLOW);
    const series = [["load", TOOK, LOADS], ["wait", WAITED, WAITS]];
    const means = series.map(([name, sum, count]) => [name, list
      .filter(([, sums]) => sums[count])
      .map(([begin, sums]) => [begin + SLOW / 2, sums[sum] / sums[count]])]);
    const most = nice(Math.max(0.01, ...means.flatMap(([, points]) => points.map(([, mean]) => mean))));
    const { width, y, under, over } = frame(plot, most, duration);
    const x = (at) => Math.max(3, Math.min(width - 3, width * (at - end + SPAN) / SPAN));
    const drawn = [], said = [];
    for (const [name, points] of means) {
      const path = points.map(([at, mean], i) => `${i ? "L" : "M"}${x(at).toFixed(1)} ${y(mean).toFixed(1)}`);
      drawn.push(`<path class="c-${name}" d="${path.join("")}"/>`);
      drawn.push(...points.map(([at, mean]) =>
        `<circle class="c-${name}" cx="${x(at).toFixed(1)}" cy="${y(mean).toFixed(1)}" r="3"/>`));
      said.push(`${name} ${points.length ? duration(points[points.length - 1][1]) : "none"}`);
    }
    const tips = list.map(([begin, sums]) => ({
      x: x(begin + SLOW / 2), at: end - begin,
      lines: series.map(([name, sum, count]) =>
        [`a ${name}`, sums[count] ? duration(sums[sum] / sums[count]) : "–"]),
    }));
    put(plot, width, `Mean latency, the latest: ${said.join(", ")}`, under + drawn.join("") + over, tips);
  },
};

function rect(name, x, y, width, height) {
  const numbers = [x, y, Math.max(1, width), Math.max(1, height)].map((value) => value.toFixed(1));
  return `<rect class="c-${name}" x="${numbers[0]}" y="${numbers[1]}" width="${numbers[2]}" height="${numbers[3]}"/>`;
}

function sparkline(spark) {
  const width = 120, height = 18;
  if (!samples.length) return;
  const { end, list } = bars(SLOW, spark.dataset.spark);
  const total = (sums) => sums[FRESH] + sums[STALE] + sums[MISS] + sums[PASS];
  const most = Math.max(1, ...list.map(([, sums]) => total(sums)));
  const drawn = list.map(([begin, sums]) => {
    let below = 0;
    return [[FRESH, "fresh"], [STALE, "stale"], [MISS, "miss"], [PASS, "pass"]].map(([column, name]) => {
      const high = height * sums[column] / most;
      below += high;
      return high ? rect(name, width * Math.max(0, begin - end + SPAN) / SPAN, height - below, 3, high) : "";
    }).join("");
  });
  spark.innerHTML = `<svg width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" preserveAspectRatio="none" aria-hidden="true">` +
    `<rect class="track" y="${height - 1}" width="${width}" height="1"/>${drawn.join("")}</svg>`;
}

// What is under the pointer.

function point(plot, event) {
  plot.pointed = event.clientX - plot.getBoundingClientRect().left;
  show(plot);
}

function unpoint(plot) {
  delete plot.pointed;
  plot.querySelector(".tip")?.setAttribute("hidden", "");
  plot.querySelector(".cross")?.setAttribute("visibility", "hidden");
}

function show(plot) {
  const near = plot.tips?.reduce((best, tip) =>
    Math.abs(tip.x - plot.pointed) < Math.abs((best?.x ?? Infinity) - plot.pointed) ? tip : best, null);
  if (!near) return;
  const cross = plot.querySelector(".cross"), tip = plot.querySelector(".tip");
  cross.setAttribute("x1", near.x);
  cross.setAttribute("x2", near.x);
  cross.setAttribute("visibility", "visible");
  const head = document.createElement("div");
  head.textContent = near.at < 1 ? "now" : `${duration(near.at)} ago`;
  const lines = near.lines.map(([name, value]) => {
    const line = document.createElement("div"), strong = document.createElement("b");
    strong.textContent = value;
    line.append(`${name} `, strong);
    return line;
  });
  tip.replaceChildren(head, ...lines);
  tip.hidden = false;
  const room = plot.clientWidth - tip.offsetWidth;
  tip.style.left = `${near.x + 10 > room ? Math.max(0, near.x - tip.offsetWidth - 10) : near.x + 10}px`;
}
