"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const DASHES = ["", "6 3", "2 3", "8 3 2 3"];
  const UNITS = { "outer-steps": "outer step", "environment-steps": "environment steps per seed" };

  // Elements. Texts are set as text, never parsed as HTML.
  const make = (name, attributes = {}, ...children) => {
    const svg = ["svg", "g", "path", "line", "circle", "text", "rect", "defs", "marker", "title"];
    const element = svg.includes(name)
      ? document.createElementNS("http://www.w3.org/2000/svg", name)
      : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "color") element.style.setProperty("--color", value);
      else if (value !== undefined) element.setAttribute(key, value);
    }
    element.append(...children);
    return element;
  };
  const choice = (label, options, listen) => {
    const select = make("select");
    for (const [value, text] of options) select.append(make("option", { value }, text));
    select.addEventListener("change", () => listen(select.value));
    return make("label", {}, `${label} `, select);
  };
  const number = (value) => {
    if (value === null || value === undefined) return "-";
    const size = Math.abs(value);
    return size >= 1e6 || (size > 0 && size < 1e-3) ? value.toExponential(2) : String(Number(value.toPrecision(4)));
  };
  const ticks = (low, high, count) => {
    const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((by) => by * power).find((size) => size >= rough);
    const found = [];
    for (let at = Math.ceil(low / step) * step; at <= high + step / 1e6; at += step) found.push(Number(at.toPrecision(12)));
    return found;
  };

  // A chart of lines with bands: lines have x, mean, low and high for each unit of the x axis.
  function chart(figure, metrics, colors, name) {
    const state = { metric: Object.keys(metrics)[0], unit: "outer-steps", log: false, hidden: new Set(), at: null };
    const every = () => metrics[state.metric];
    const lines = () => every().lines.filter((line) => line[state.unit] && !state.hidden.has(line.label));
    const labels = [...new Set(Object.values(metrics).flatMap((one) => one.lines.map((line) => line.label)))];
    const dash = (label) => DASHES[labels.indexOf(label) % DASHES.length];
    const holder = make("div"), reading = make("div", { class: "reading", role: "status" });
    const controls = make("div", { class: "controls" });
    const redraw = () => { state.at = null; draw(); };
    if (Object.keys(metrics).length > 1) {
      const options = Object.entries(metrics).map(([key, one]) => [key, one.name]);
      controls.append(choice("Metric", options, (value) => { state.metric = value; redraw(); }));
    }
    if (Object.values(metrics).some((one) => one.lines.some((line) => line["environment-steps"]))) {
      controls.append(choice("x axis", Object.entries(UNITS), (value) => { state.unit = value; redraw(); }));
    }
    if (name !== "profiles") {
      const log = make("input", { type: "checkbox" });
      log.addEventListener("change", () => { state.log = log.checked; redraw(); });
      controls.append(make("label", {}, log, " logarithmic x axis"));
    }
    const legend = make("ul", { class: "legend", "aria-label": "Lines" });
    for (const label of labels) {
      const box = make("input", { type: "checkbox", checked: "" });
      box.addEventListener("change", () => {
        if (box.checked) state.hidden.delete(label); else state.hidden.add(label);
        redraw();
      });
      const swatch = make("svg", { class: "swatch", viewBox: "0 0 28 6", "aria-hidden": "true" },
        make("path", { class: "curve", color: colors[label], d: "M0,3H28", "stroke-dasharray": dash(label) }));
      legend.append(make("li", {}, make("label", {}, box, swatch, label)));
    }
    const beyond = make("p", { class: "note" });
    figure.prepend(controls, holder, legend, beyond, reading);

    function draw() {
      const shown = lines(), unit = state.unit;
      const width = Math.max(280, holder.clientWidth), height = Math.round(Math.min(380, 120 + width * 0.38));
      const left = 62, right = 14, top = 12, bottom = 44;
      const values = shown.flatMap((line) => [...line[unit].mean, ...(line[unit].low ?? []), ...(line[unit].high ?? [])]);
      const finite = values.filter((value) => value !== null);
      // a level far from the curves would flatten them: it is named below the chart instead
      const span = Math.max(...finite) - Math.min(...finite);
      const near = ([, level]) => level <= Math.max(...finite) + 0.6 * span && level >= Math.min(...finite) - 0.6 * span;
      const levels = every().levels.filter(near), far = every().levels.filter((level) => !near(level));
      finite.push(...levels.map(([, level]) => level));
      beyond.textContent = far.length
        ? `Beyond the chart: ${far.map(([label, level]) => `${label} at ${number(level)}`).join(", ")}.` : "";
      const xs = shown.flatMap((line) => line[unit].x);
      const svg = make("svg", {
        viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: "0",
        "aria-label": `${every().name} against ${name === "profiles" ? "normalized score" : UNITS[unit]}`,
      });
      holder.replaceChildren(svg);
      if (!finite.length || !xs.length) {
        svg.append(make("text", { x: left, y: height / 2 }, "No line is shown in this unit."));
        return;
      }
      let low = Math.min(...finite), high = Math.max(...finite);
      if (low === high) { low -= 0.5; high += 0.5; }
      const pad = 0.04 * (high - low);
      low -= pad; high += pad;
      const log = state.log && Math.min(...xs) > 0;
      const scale = log ? Math.log10 : (value) => value;
      const first = scale(log ? Math.min(...xs) : Math.min(0, ...xs)), last = scale(Math.max(...xs));
      const px = (x) => left + (width - left - right) * (scale(x) - first) / (last - first || 1);
      const py = (y) => top + (height - top - bottom) * (high - y) / (high - low);
      for (const y of ticks(low, high, 5)) {
        svg.append(make("line", { class: "grid", x1: left, x2: width - right, y1: py(y), y2: py(y) }));
        svg.append(make("text", { x: left - 6, y: py(y) + 4, "text-anchor": "end" }, number(y)));
      }
      const marks = log
        ? Array.from({ length: Math.floor(last) - Math.ceil(first) + 1 }, (_, i) => 10 ** (Math.ceil(first) + i))
        : ticks(first, last, Math.max(2, Math.floor(width / 110)));
      for (const x of marks) {
        svg.append(make("text", { x: px(x), y: height - bottom + 18, "text-anchor": "middle" }, number(x)));
      }
      const below = name === "profiles" ? "normalized score" : UNITS[unit] + (log ? " (logarithmic)" : "");
      svg.append(make("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, below));
      for (const [label, level] of levels) {
        svg.append(make("line", { class: "level", x1: left, x2: width - right, y1: py(level), y2: py(level) }));
        svg.append(make("text", { class: "quiet", x: width - right, y: py(level) - 4, "text-anchor": "end" }, label));
      }
      const points = (line, key) => line[unit].x.map((x, i) => [px(x), line[unit][key][i]])
        .filter(([, y]) => y !== null).map(([x, y]) => `${x.toFixed(1)},${py(y).toFixed(1)}`);
      for (const line of shown) {
        if (line[unit].low) {
          const outline = [...points(line, "low"), ...points(line, "high").reverse()];
          svg.append(make("path", { class: "band", color: colors[line.label], d: `M${outline.join("L")}Z` }));
        }
      }
      for (const line of shown) {
        const d = `M${points(line, "mean").join("L")}`;
        svg.append(make("path", { class: "curve", color: colors[line.label], d, "stroke-dasharray": dash(line.label) }));
      }
      const cursor = make("g");
      svg.append(cursor);
      const grid = [...new Set(xs)].sort((a, b) => a - b);
      const read = (index) => {
        state.at = Math.max(0, Math.min(grid.length - 1, index));
        const x = grid[state.at], texts = [];
        cursor.replaceChildren(make("line", { class: "cursor", x1: px(x), x2: px(x), y1: top, y2: height - bottom }));
        for (const line of shown) {
          const of = line[unit], i = nearest(of.x, x), mean = of.mean[i];
          if (mean === null) continue;
          cursor.append(make("circle", { class: "dot", color: colors[line.label], r: 4, cx: px(of.x[i]), cy: py(mean) }));
          const ends = of.low ? ` [${number(of.low[i])}, ${number(of.high[i])}]` : "";
          texts.push(`${line.label} ${number(mean)}${ends}`);
        }
        reading.textContent = `${below} ${number(x)}: ${texts.join("; ")}`;
      };
      const nearest = (sorted, x) => sorted.reduce((best, value, i) =>
        Math.abs(scale(value) - scale(x)) < Math.abs(scale(sorted[best]) - scale(x)) ? i : best, 0);
      svg.addEventListener("pointermove", (event) => {
        const box = svg.getBoundingClientRect();
        const at = first + (last - first) * ((event.clientX - box.left) * width / box.width - left) / (width - left - right);
        read(nearest(grid, log ? 10 ** at : at));
      });
      svg.addEventListener("keydown", (event) => {
        const by = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10 }[event.key];
        const to = { Home: 0, End: grid.length - 1 }[event.key];
        if (by === undefined && to === undefined) return;
        event.preventDefault();
        read(to ?? (state.at === null ? (by > 0 ? 0 : grid.length - 1) : state.at + by));
      });
    }
    draw();
    let before = holder.clientWidth;
    new ResizeObserver(() => {
      if (holder.clientWidth !== before) { before = holder.clientWidth; draw(); }
    }).observe(holder);
  }

  // Transfers between agents: a matrix, and the same as a graph, at the time that a slider chooses.
  function transfers(holder, rows) {
    const labels = Object.keys(rows), short = (agent) => agent.split(" ").at(-1);
    const gives = (label) => rows[label].frames.at(-1).values
      .some((row, giver) => row.some((value, receiver) => giver !== receiver && Math.abs(value) > 0.02));
    const begin = labels.find(gives) ?? labels[0];
    const state = { row: begin, frame: rows[begin].frames.length - 1 };
    const slider = make("input", { type: "range", min: 0, step: 1, "aria-label": "Time of training" });
    const time = make("output");
    const matrix = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Transfers" });
    const graph = make("div");
    const controls = make("div", { class: "controls" });
    if (labels.length > 1) {
      const method = choice("Method", labels.map((label) => [label, label]), (value) => {
        state.row = value;
        state.frame = rows[value].frames.length - 1;
        draw();
      });
      method.querySelector("select").value = begin;
      controls.append(method);
    }
    controls.append(make("label", {}, "Training ", slider), time);
    holder.append(controls, matrix, graph);
    slider.addEventListener("input", () => { state.frame = Number(slider.value); draw(); });

    function draw() {
      const { kind, unit, agents, frames } = rows[state.row], frame = frames[state.frame];
      slider.max = frames.length - 1;
      slider.value = state.frame;
      time.textContent = frame.step === null ? "final policies" : `outer step ${frame.step}`;
      slider.setAttribute("aria-valuetext", time.textContent);
      const most = kind === "share" ? 1 : Math.max(1e-12, ...frames.flatMap((one) => one.values.flat().map(Math.abs)));
      const many = agents.length > 6;
      holder.classList.toggle("many", many);
      const head = make("tr", {}, make("td"), ...agents.map((agent) =>
        make("th", { scope: "col", "aria-label": `to ${agent}` }, many ? short(agent) : `to ${agent}`)));
      const body = frame.values.map((row, giver) => make("tr", {},
        make("th", { scope: "row", "aria-label": agents[giver] }, many ? short(agents[giver]) : agents[giver]),
        ...row.map((value) => {
          const cell = make("td", { class: "number" }, number(Number(value.toFixed(many ? 2 : 3))));
          const strength = Math.round(70 * Math.min(1, Math.abs(value) / most));
          cell.style.background = `color-mix(in srgb, ${value < 0 ? "#d55e00" : "#0072b2"} ${Math.min(strength, 45)}%, var(--back))`;
          return cell;
        })));
      const caption = make("caption", {}, `${state.row}, ${unit}, mean over seeds: row gives to column`);
      matrix.replaceChildren(make("table", { class: "matrix" }, caption, make("thead", {}, head), make("tbody", {}, ...body)));
      graph.replaceChildren(network(agents, frame.values, most));
    }

    function network(agents, values, most) {
      const size = 300, middle = size / 2, node = Math.min(20, 100 / agents.length + 4), radius = middle - 25 - node;
      const place = agents.map((_, i) => {
        const angle = 2 * Math.PI * i / agents.length - (agents.length === 2 ? Math.PI : Math.PI / 2);
        return [middle + radius * Math.cos(angle), middle + radius * Math.sin(angle)];
      });
      const id = `head-${Math.random().toString(36).slice(2)}`;
      const head = make("marker", { id, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 9, markerHeight: 9, markerUnits: "userSpaceOnUse", orient: "auto" },
        make("path", { d: "M0,0L8,4L0,8Z", fill: "var(--link)" }));
      const given = [];
      const svg = make("svg", { viewBox: `0 0 ${size} ${size}`, role: "img" }, make("defs", {}, head));
      values.forEach((row, giver) => row.forEach((value, receiver) => {
        const part = Math.abs(value) / most;
        if (giver === receiver || part < 0.02) return;
        const [ax, ay] = place[giver], [bx, by] = place[receiver];
        const length = Math.hypot(bx - ax, by - ay), ux = (bx - ax) / length, uy = (by - ay) / length;
        const bend = Math.min(18, length / 5), mx = (ax + bx) / 2 - uy * bend, my = (ay + by) / 2 + ux * bend;
        const start = [ax + ux * node, ay + uy * node], end = [bx - ux * node, by - uy * node];
        svg.append(make("path", { class: "arrow", "marker-end": `url(#${id})`, opacity: 0.35 + 0.65 * part,
          "stroke-width": (0.8 + 5 * part).toFixed(2), d: `M${start}Q${[mx, my]} ${end}` }));
        given.push(`${agents[giver]} gives ${number(value)} to ${agents[receiver]}`);
      }));
      place.forEach(([x, y], i) => {
        svg.append(make("circle", { class: "node", cx: x, cy: y, r: node }));
        svg.append(make("text", { x, y: y + 4, "text-anchor": "middle" }, short(agents[i])));
      });
      const words = given.length ? given.slice(0, 12).join(", ") : "none";
      svg.setAttribute("aria-label", `Graph of transfers: ${words}`);
      return svg;
    }
    draw();
  }

  for (const section of document.querySelectorAll("[data-game]")) {
    const { curves, transfers: rows } = data.games[section.dataset.game];
    const { colors, ...metrics } = curves;
    chart(section.querySelector("[data-curves]"), metrics, colors, "curves");
    const holder = section.querySelector("[data-transfers]");
    if (holder) transfers(holder, rows);
  }
  // A live page asks what state its folder is in, and loads again when it has changed.
  const news = document.getElementById("news");
  if (news) {
    const key = `scroll ${location.pathname}`;
    const before = sessionStorage.getItem(key);
    if (before !== null) scrollTo(0, Number(before));
    setInterval(async () => {
      try {
        const answer = await fetch(`state${location.search}`);
        if (!answer.ok) throw new Error(answer.statusText);
        if ((await answer.text()) === news.dataset.state || document.hidden) return;
        sessionStorage.setItem(key, String(scrollY));
        location.reload();
      } catch {
        news.textContent = "bilevel watch has ended: this is the last state that it showed.";
      }
    }, 3000);
  }
  const profiles = document.querySelector("[data-profiles]");
  if (profiles) {
    const colors = Object.fromEntries(data.profiles.lines.map((line) => [line.label, line.color]));
    chart(profiles, { profiles: data.profiles }, colors, "profiles");
  }
})();
