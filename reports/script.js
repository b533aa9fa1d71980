// Draws the page's figures and answers its planner. Everything it needs is in the page; it fetches nothing.
(() => {
  "use strict";
  const COLOURS = new Set(["color", "fillcolor", "gridcolor", "bgcolor", "bordercolor"]);
  const CONFIG = { displayModeBar: false, responsive: true, scrollZoom: false, doubleClick: false };
  const drawn = new Set();

  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // A specification with its colour names (--accent) turned into this moment's colours.
  const coloured = (value, key) => {
    if (key === "colorscale") return value.map(([at, name]) => [at, style(name)]);
    if (typeof value === "string") return COLOURS.has(key) && value.startsWith("--") ? style(value) : value;
    if (Array.isArray(value)) return value.map((item) => coloured(item));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, coloured(item, name)]));
  };

  const axis = (own) => ({
    gridcolor: style("--grid"), zerolinecolor: style("--rule"), linecolor: style("--rule"), fixedrange: true,
    ticks: "", tickfont: { size: 12 }, exponentformat: "SI", ...own,
    title: own && own.title ? { ...own.title, font: { size: 12, color: style("--muted") }, standoff: 8 } : undefined,
  });

  const layout = (own) => ({
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", dragmode: false, showlegend: false,
    font: { family: style("--sans"), size: 12.5, color: style("--ink") },
    margin: { l: 56, r: 14, t: own.showlegend ? 40 : 20, b: 48 },
    hoverlabel: { bgcolor: style("--paper"), bordercolor: style("--rule"), font: { color: style("--ink") } },
    ...own,
    legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", itemclick: false, itemdoubleclick: false, ...own.legend },
    xaxis: axis(own.xaxis), yaxis: axis(own.yaxis),
  });

  const draw = (place) => {
    const text = document.querySelector(`script[data-figure="${place.id}"]`).textContent;
    const spec = coloured(JSON.parse(text));
    Plotly.newPlot(place, spec.data, layout(spec.layout), CONFIG);
    drawn.add(place);
  };

  const places = [...document.querySelectorAll(".plot")];
  const watch = new IntersectionObserver((seen) => {
    for (const { isIntersecting, target } of seen) {
      if (!isIntersecting) continue;
      watch.unobserve(target);
      draw(target);
    }
  }, { rootMargin: "800px" });
  places.forEach((place) => watch.observe(place));
  document.addEventListener("toggle", (event) => {
    if (event.target.open) event.target.querySelectorAll(".plot").forEach((place) => Plotly.Plots.resize(place));
  }, true);

  const redraw = () => drawn.forEach(draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("beforeprint", () => {
    document.documentElement.classList.add("paper");
    places.forEach(draw);
  });
  addEventListener("afterprint", () => {
    document.documentElement.classList.remove("paper");
    redraw();
  });

  // ---- the planner: straight lines between a curve's points, as the allocator reads them ----
  const compact = (value) => {
    const size = Math.abs(value);
    for (const [unit, suffix] of [[1e9, "bn"], [1e6, "M"], [1e3, "k"]]) {
      if (size >= unit * 0.9995) return (value / unit).toPrecision(3) + suffix;
    }
    return value.toFixed(size < 10 ? 2 : 0);
  };

  const at = (spends, responses, spend) => {
    const i = spends.findIndex((point) => point >= spend);
    if (i <= 0) return i === 0 ? responses[0] : responses[responses.length - 1];
    const share = (spend - spends[i - 1]) / (spends[i] - spends[i - 1]);
    return responses[i - 1] + share * (responses[i] - responses[i - 1]);
  };

  const plan = (root) => {
    const spec = JSON.parse(root.querySelector("script[data-planner]").textContent);
    const inputs = [...root.querySelectorAll("input")];
    const out = Object.fromEntries([...root.querySelectorAll("[data-out]")].map((node) => [node.dataset.out, node]));
    const top = (line) => line.spend[line.spend.length - 1];
    const money = (value) => (value < 0 ? "−" : "") + spec.currency + compact(Math.abs(value));
    const worth = (value) => (spec.is_money ? money(value) : (value < 0 ? "−" : "") + compact(Math.abs(value)));
    const signed = (value) => (value > 0 ? "+" : "") + worth(value);
    const spends = spec.lines.map((line) => line.today);

    const note = (node, text, small) => {
      node.textContent = text;
      if (!small) return;
      const line = document.createElement("small");
      line.textContent = small;
      node.append(line);
    };
    const show = () => {
      let mean = 0, below = 0, above = 0, gain = 0, total = 0, usual = 0;
      spec.lines.forEach((line, i) => {
        const spend = spends[i], value = at(line.spend, line.mean, spend);
        total += spend;
        usual += line.today;
        mean += value;
        gain += value - at(line.spend, line.mean, line.today);
        below += (value - at(line.spend, line.p05, spend)) ** 2;
        above += (at(line.spend, line.p95, spend) - value) ** 2;
        inputs[i].value = Math.round((1000 * spend) / top(line));
        inputs[i].setAttribute("aria-valuetext", money(spend));
        inputs[i].parentElement.querySelector("output").textContent = money(spend);
      });
      note(out.spend, money(total), `${money(usual)} today`);
      note(out.value, worth(mean), `${worth(mean - Math.sqrt(below))} to ${worth(mean + Math.sqrt(above))}`);
      note(out.roas, total > 0 ? (mean / total).toFixed(2) : "–");
      note(out.gain, signed(gain), "mean of the curves");
    };
    inputs.forEach((input, i) => input.addEventListener("input", () => {
      spends[i] = (top(spec.lines[i]) * Number(input.value)) / 1000;
      show();
    }));
    root.querySelectorAll("button").forEach((button) => button.addEventListener("click", () => {
      spec.lines.forEach((line, i) => { spends[i] = line[button.dataset.set]; });
      show();
    }));
    spec.lines.forEach((line, i) => { spends[i] = line.planned; });
    root.hidden = false;
    show();
  };
  document.querySelectorAll(".planner").forEach(plan);
})();
