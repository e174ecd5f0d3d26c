// What is folded opens where a link leads into it, and all sections on paper.
const unfold = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target === null) return;
  const own = target.querySelector(":scope > details");
  if (own !== null) own.open = true;
  for (let part = target.closest("details"); part !== null; part = part.parentElement.closest("details")) part.open = true;
  target.scrollIntoView();
};
window.addEventListener("hashchange", unfold);
document.querySelectorAll("a[href^='#']").forEach(link => link.addEventListener("click", () => {
  if (link.hash === location.hash) unfold();
}));
unfold();
window.addEventListener("beforeprint", () => document.querySelectorAll("section > details").forEach(part => part.open = true));
document.querySelectorAll("th button").forEach(button => button.addEventListener("click", () => {
  const head = button.parentElement, table = head.closest("table"), body = table.tBodies[0];
  const column = [...head.parentElement.children].indexOf(head);
  const up = head.getAttribute("aria-sort") !== "ascending";
  head.parentElement.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const value = row => { const cell = row.cells[column]; return cell.dataset.sort ?? cell.textContent; };
  const numeric = head.classList.contains("num");
  const rows = [...body.rows].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === "" || y === "") return (x === "") - (y === "");
    const order = numeric && !isNaN(x) && !isNaN(y) ? Number(x) - Number(y) : x.localeCompare(y);
    return up ? order : -order;
  });
  body.append(...rows);
}));
document.querySelectorAll("table[data-more]").forEach(table => {
  const button = document.createElement("button");
  const say = () => {
    const folded = table.classList.contains("folded");
    button.textContent = folded ? `Show ${table.dataset.more} more rows` : `Hide ${table.dataset.more} rows`;
    button.setAttribute("aria-expanded", String(!folded));
  };
  button.type = "button";
  button.className = "fold";
  button.addEventListener("click", () => { table.classList.toggle("folded"); say(); });
  table.classList.add("folded");
  table.parentElement.after(button);
  say();
});
// Points of figures: hover or a tap names the training, a click opens its curves, a choice of settings veils all others.
const FULL = 65534, MISSING = 65535, REACH = 16, TOUCH = 26, MOST_LEVELS = 24;
const source = document.getElementById("trainings");
const known = source === null ? null : JSON.parse(source.textContent);
const wanted = new Map(); // setting -> level
const veils = [];
const element = (name, properties = {}, ...children) => {
  const part = Object.assign(document.createElement(name), properties);
  part.append(...children);
  return part;
};
const drawn = (name, attributes, ...children) => {
  const part = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) part.setAttribute(key, value);
  part.append(...children);
  return part;
};
const fits = training => [...wanted].every(([axis, level]) => known.axes[axis].of[training] === level);
const settings = training => known.axes.map(axis => `${axis.name} ${axis.levels[axis.of[training]]}`).join(", ");
const called = training => known.names[training].replace(/^([0-9a-f]{8})[0-9a-f]{24}$/, "$1");
const written = value => value === null ? "undefined" : String(Number(value.toPrecision(4)));

const chart = (title, along, values, order) => {
  const points = along.map((x, at) => [x, values[at]]).filter(([, y]) => y !== null && y !== undefined);
  const [left, right, top, bottom] = [along[0], along[along.length - 1], Math.max(...points.map(([, y]) => y)), Math.min(...points.map(([, y]) => y))];
  const place = ([x, y]) => [10 + 220 * (right > left ? (x - left) / (right - left) : .5), 100 - 75 * (top > bottom ? (y - bottom) / (top - bottom) : .5)];
  const text = (x, y, anchor, words) => drawn("text", { x, y, "text-anchor": anchor }, words);
  const dots = points.map(point => {
    const [cx, cy] = place(point);
    return drawn("circle", { cx, cy, r: 2.5 }, drawn("title", {}, `${order} ${point[0]}: ${written(point[1])}`));
  });
  const range = points.length ? [text(10, 16, "start", `most ${written(top)}`), text(230, 16, "end", `least ${written(bottom)}`)] : [text(120, 60, "middle", "undefined")];
  const ends = [text(10, 118, "start", `${order} ${left}`), text(230, 118, "end", String(right))];
  const line = drawn("polyline", { points: points.map(place).join(" ") });
  return element("figure", {}, element("figcaption", { textContent: title }), drawn("svg", { viewBox: "0 0 240 124", role: "img", "aria-label": `${title} over ${order}` }, line, ...dots, ...range, ...ends));
};

const curves = training => {
  const { along, values } = known.curves[training];
  const close = element("button", { type: "button", className: "fold", textContent: "Close" });
  const head = element("p", {}, element("b", { textContent: `Training ${called(training)}` }), `: ${settings(training)} `, close);
  const part = element("div", { className: "curves", tabIndex: -1 }, head);
  part.dataset.training = known.names[training];
  close.addEventListener("click", () => part.remove());
  if (along.length > 1) part.append(element("div", { className: "charts" }, ...known.columns.map((name, at) => chart(name, along, values[at], known.order))));
  else {
    const lines = known.columns.flatMap((name, at) => [element("dt", { textContent: name }), element("dd", { textContent: written(values[at][0] ?? null) })]);
    part.append(element("p", { textContent: "It was measured once, so that there are values and no curves." }), element("dl", {}, ...lines));
  }
  return part;
};

const bar = () => {
  const said = element("output", { className: "shown" });
  const choices = known.axes.map((axis, place) => ({ axis, place })).filter(({ axis }) => axis.levels.length > 1 && axis.levels.length <= MOST_LEVELS);
  const selects = choices.map(({ axis, place }) => {
    const select = element("select", {}, ...["all", ...axis.levels].map((level, at) => element("option", { value: at - 1, textContent: level })));
    select.addEventListener("change", () => {
      if (Number(select.value) < 0) wanted.delete(place); else wanted.set(place, Number(select.value));
      veils.forEach(repaint => repaint());
    });
    return { place, select, label: element("label", {}, `${axis.name} `, select) };
  });
  const say = () => {
    selects.forEach(({ place, select }) => { select.value = wanted.get(place) ?? -1; });
    const left = known.names.filter((_, training) => fits(training)).length;
    said.textContent = wanted.size ? `${left} of ${known.names.length} trainings` : "";
  };
  return { part: element("div", { className: "filter" }, ...selects.map(({ label }) => label), said), say };
};

const tip = element("div", { className: "tip", hidden: true, role: "status" });
document.body.append(tip);

document.querySelectorAll("script.marks").forEach(store => {
  const marks = JSON.parse(store.textContent), figure = store.parentElement, plot = figure.querySelector(".plot > div");
  const panels = marks.panels.map(({ box, at }) => ({ box, at: new Uint16Array(Uint8Array.from(atob(at), letter => letter.charCodeAt(0)).buffer) }));
  const ring = element("div", { className: "ring", hidden: true }), veil = element("canvas", { className: "veil", hidden: true });
  const { part: choices, say } = bar();
  let visible = marks.trainings.map(() => true), current = null;
  plot.append(veil, ring);
  plot.tabIndex = 0;
  plot.setAttribute("aria-label", "Points: arrow keys step through them, Enter opens the curves of a training");
  figure.querySelector(".plot").before(choices);

  const hide = () => { current = null; tip.hidden = ring.hidden = true; };
  const tell = point => {
    if (point === null) return hide();
    current = point;
    const training = marks.trainings[point.at], frame = plot.getBoundingClientRect();
    const [x, y] = [0, 1].map(axis => panels[point.panel].at[2 * point.at + axis] / FULL);
    ring.style.left = `${100 * x}%`;
    ring.style.top = `${100 * y}%`;
    tip.replaceChildren(element("b", { textContent: called(training) }), element("br"), settings(training), ...(marks.notes.length ? [element("br"), marks.notes[point.at]] : []));
    tip.hidden = ring.hidden = false;
    tip.style.left = `${Math.max(4, Math.min(frame.left + x * frame.width + 12, document.documentElement.clientWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.max(4, Math.min(frame.top + y * frame.height + 12, document.documentElement.clientHeight - tip.offsetHeight - 8))}px`;
  };
  const nearest = event => {
    const frame = plot.getBoundingClientRect(), x = event.clientX - frame.left, y = event.clientY - frame.top;
    let least = event.pointerType === "touch" ? TOUCH : REACH, point = null;
    panels.forEach(({ box, at }, panel) => {
      if (x < box[0] * frame.width - least || x > box[2] * frame.width + least || y < box[1] * frame.height - least || y > box[3] * frame.height + least) return;
      for (let place = 0; place < visible.length; place++) {
        if (at[2 * place] === MISSING || !visible[place]) continue;
        const distance = Math.hypot(at[2 * place] / FULL * frame.width - x, at[2 * place + 1] / FULL * frame.height - y);
        if (distance < least) [least, point] = [distance, { panel, at: place }];
      }
    });
    return point;
  };
  const open = ({ at }) => {
    document.querySelectorAll(".curves").forEach(other => other.remove());
    const part = curves(marks.trainings[at]);
    figure.append(part);
    part.focus({ preventScroll: true });
    part.scrollIntoView({ block: "nearest" });
  };
  plot.addEventListener("pointermove", event => { if (event.pointerType !== "touch") tell(nearest(event)); });
  plot.addEventListener("pointerleave", event => { if (event.pointerType !== "touch") hide(); });
  plot.addEventListener("blur", hide);
  plot.addEventListener("click", event => {
    const point = nearest(event), again = current !== null && point !== null && current.at === point.at && current.panel === point.panel;
    if (point !== null && (again || event.pointerType !== "touch")) open(point); else tell(point);
  });
  plot.addEventListener("keydown", event => {
    if (event.key === "Escape") return hide();
    if (event.key === "Enter" && current !== null) return open(current);
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key], other = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (step === undefined && other === undefined) return;
    event.preventDefault();
    const panel = ((current?.panel ?? 0) + (other ?? 0) + panels.length) % panels.length, { at } = panels[panel];
    const order = [...visible.keys()].filter(place => visible[place] && at[2 * place] !== MISSING).sort((a, b) => at[2 * a] - at[2 * b]);
    const from = current === null ? -1 : order.indexOf(current.at);
    if (order.length) tell({ panel, at: order[(Math.max(from, step === -1 ? 0 : -1) + (step ?? (from < 0 ? 1 : 0)) + order.length) % order.length] });
  });

  const repaint = () => {
    visible = marks.trainings.map(fits);
    say();
    hide();
    veil.hidden = wanted.size === 0;
    const width = plot.clientWidth, height = plot.clientHeight, scale = window.devicePixelRatio;
    if (veil.hidden || !width) return;
    [veil.width, veil.height] = [width * scale, height * scale];
    const pen = veil.getContext("2d");
    pen.scale(scale, scale);
    for (const { box, at } of panels) {
      pen.fillStyle = "rgba(255, 255, 255, .82)";
      pen.fillRect(box[0] * width, box[1] * height, (box[2] - box[0]) * width, (box[3] - box[1]) * height);
      visible.forEach((shown, place) => {
        if (!shown || at[2 * place] === MISSING) return;
        pen.fillStyle = marks.colours[place];
        pen.beginPath();
        pen.arc(at[2 * place] / FULL * width, at[2 * place + 1] / FULL * height, 3, 0, 2 * Math.PI);
        pen.fill();
      });
    }
  };
  veils.push(repaint);
  new ResizeObserver(repaint).observe(plot);
});
