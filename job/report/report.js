"use strict";
// Fills the report: points and filters of the map, the photo under the pointer, pictures, colours of the charts.
// It reads two blocks of JSON, writes texts with textContent only, and fetches nothing.
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const charts = JSON.parse($("charts").textContent);
  const words = data.words;
  const count = data.names.length;
  const REACH = 14; // pixels from the pointer to the nearest point
  const LISTED = 50;
  const PALETTE = [
    "#e6194b", "#2ca02c", "#4363d8", "#f58231", "#a83fd1", "#17a2b8", "#f032e6", "#8fb80b", "#f19cbb", "#2f7f7a",
    "#a99bf5", "#9a6324", "#d4a900", "#b03045", "#55c793", "#8a8a1f", "#e9967a", "#6c7a89", "#42c6f4", "#7b5fa8",
  ];
  const OTHERS = "#8d8d8d";

  const numbers = (packed) => {
    const raw = atob(packed.data);
    const bytes = new Uint8Array(raw.length);
    for (let at = 0; at < raw.length; at++) bytes[at] = raw.charCodeAt(at);
    return new { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array }[packed.bytes](bytes.buffer);
  };
  const column = (name) => data[name] && numbers(data[name]);
  const coordinates = (packed) => Float32Array.from(numbers(packed), (steps) => packed.low + steps * packed.step);
  const plane = (name) => data[name] && data[name].map(coordinates);
  const [folder, label, split] = ["folder", "label", "split"].map(column);
  const [predicted, probability, state] = ["predicted", "probability", "state"].map(column);
  const place = new Int32Array(count).fill(-1);
  column("pictures").forEach((photo, at) => { place[photo] = at; });
  const planes = { pca: plane("pca"), discriminant: plane("discriminant") };

  const format = new Intl.NumberFormat(document.documentElement.lang);
  const fill = (text, fields) => text.replace(/\{(\w+)\}/g, (_, name) => fields[name]);
  const pathOf = (photo) => data.folders[folder[photo]] + "/" + data.names[photo];
  const make = (name, text, properties) => {
    const node = Object.assign(document.createElement(name), properties || {});
    if (text !== undefined) node.textContent = text;
    return node;
  };

  // Species and their colours: the most frequent have one of their own.
  const speciesNames = [...new Set(data.species)];
  const speciesNumber = data.species.map((name) => speciesNames.indexOf(name));
  const speciesOf = Uint32Array.from(label, (number) => speciesNumber[number]);
  const frequency = new Array(speciesNames.length).fill(0);
  for (const number of speciesOf) frequency[number]++;
  const ranked = speciesNames.map((_, number) => number).filter((number) => frequency[number]);
  ranked.sort((first, second) => frequency[second] - frequency[first] || first - second);
  const coloured = ranked.slice(0, PALETTE.length).sort((first, second) => first - second);
  const colourOf = speciesNames.map((_, number) => PALETTE[coloured.indexOf(number)] || OTHERS);
  const packed = Uint32Array.from(colourOf, (text) => (parseInt(text.slice(1), 16) * 256 + 255) >>> 0);

  // Pictures: each sheet is decoded when one of its pictures is first drawn.
  const sheets = new Map();
  const sheet = (number) => {
    if (!sheets.has(number)) {
      const image = new Image();
      image.src = data.sheets[number];
      sheets.set(number, image.decode().then(() => image));
    }
    return sheets.get(number);
  };
  const draw = (canvas, photo) => {
    canvas.dataset.photo = photo;
    canvas.width = canvas.height = data.side;
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, data.side, data.side);
    const at = place[photo];
    if (at < 0) {
      context.fillStyle = "#8d8d8d";
      context.font = `${Math.max(8, data.side / 8)}px sans-serif`;
      context.textAlign = "center";
      context.fillText(words.no_picture, data.side / 2, data.side / 2, data.side);
      canvas.dataset.drawn = photo;
      return;
    }
    sheet(Math.floor(at / data.perSheet)).then((image) => {
      if (Number(canvas.dataset.photo) !== photo) return;
      const onSheet = at % data.perSheet;
      const x = (onSheet % data.columns) * data.side;
      const y = Math.floor(onSheet / data.columns) * data.side;
      context.drawImage(image, x, y, data.side, data.side, 0, 0, data.side, data.side);
      canvas.dataset.drawn = photo;
    });
  };
  const visible = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((one) => one.isIntersecting)) {
      visible.unobserve(entry.target);
      draw(entry.target, Number(entry.target.dataset.photo));
    }
  }, { rootMargin: "200px" });
  for (const canvas of document.querySelectorAll(".picture canvas")) visible.observe(canvas);

  // The map.
  let view, plot, points, marked;
  let current = "pca";
  let shown = Uint32Array.from({ length: count }, (_, photo) => photo);
  const chosenSpecies = new Set();

  const bounds = (values) => {
    let low = Infinity, high = -Infinity;
    for (const value of values) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
    const margin = (high - low || 1) * 0.05;
    return count ? [low - margin, high + margin] : [0, 1];
  };
  const setRanges = (x, y) => {
    plot.x_range.setv({ start: x[0], end: x[1] });
    plot.y_range.setv({ start: y[0], end: y[1] });
  };
  const wholeMap = () => setRanges(...planes[current].map(bounds));
  const plotPoints = () => {
    const [xs, ys] = planes[current];
    const x = new Float32Array(shown.length), y = new Float32Array(shown.length);
    const color = new Uint32Array(shown.length);
    shown.forEach((photo, at) => {
      x[at] = xs[photo];
      y[at] = ys[photo];
      color[at] = packed[speciesOf[photo]];
    });
    points.data = { x, y, color };
  };
  const setPlane = (name) => {
    current = name;
    const [first, second] = data.axes[name];
    plot.below[0].axis_label = first;
    plot.left[0].axis_label = second;
    hideCard();
    wholeMap();
    plotPoints();
  };

  // The photo under the pointer.
  const card = $("card");
  const hideCard = () => {
    card.hidden = true;
    marked.data = { x: [], y: [] };
  };
  const toScreen = (photo) => {
    const [xs, ys] = planes[current];
    return [view.frame.x_scale.compute(xs[photo]), view.frame.y_scale.compute(ys[photo])];
  };
  const nearest = (sx, sy) => {
    const box = view.frame.bbox;
    if (sx < box.left || sx > box.right || sy < box.top || sy > box.bottom) return -1;
    const [xs, ys] = planes[current];
    const x = view.frame.x_scale.invert(sx), y = view.frame.y_scale.invert(sy);
    const kx = box.width / (plot.x_range.end - plot.x_range.start);
    const ky = box.height / (plot.y_range.end - plot.y_range.start);
    let best = -1, least = REACH * REACH;
    for (let at = 0; at < shown.length; at++) {
      const dx = (xs[shown[at]] - x) * kx, dy = (ys[shown[at]] - y) * ky;
      const distance = dx * dx + dy * dy;
      if (distance < least) {
        least = distance;
        best = shown[at];
      }
    }
    return best;
  };
  const describe = (photo) => {
    const lines = [[make("b", data.labels[label[photo]] || words.none)], [data.splits[split[photo]]]];
    if (predicted && predicted[photo] !== label[photo]) {
      const share = `${probability[photo]}%`;
      lines.push([fill(words.taken_for, { label: data.labels[predicted[photo]], share })]);
    }
    if (state && state[photo] === 2) lines.push([words.outcome_unlike]);
    lines.push([pathOf(photo)]);
    return lines.filter(([line]) => line).map((line) => {
      const node = make("span");
      node.append(...line);
      return node;
    });
  };
  const showCard = (photo) => {
    const [sx, sy] = toScreen(photo);
    const stage = $("stage");
    if (card.hidden || Number(card.dataset.photo) !== photo) {
      card.dataset.photo = photo;
      draw($("card-picture"), photo);
      $("card-text").replaceChildren(...describe(photo));
      card.hidden = false;
    }
    const left = sx + 24 + card.offsetWidth > stage.clientWidth ? sx - 24 - card.offsetWidth : sx + 24;
    const top = Math.min(Math.max(8, sy - card.offsetHeight / 2), stage.clientHeight - card.offsetHeight - 8);
    card.style.left = `${Math.max(4, left)}px`;
    card.style.top = `${Math.max(4, top)}px`;
    const [xs, ys] = planes[current];
    marked.data = { x: [xs[photo]], y: [ys[photo]] };
  };
  let pending = null;
  const point = (event) => {
    if (pending === null) {
      requestAnimationFrame(() => {
        const box = view.el.getBoundingClientRect();
        const photo = pending.buttons ? -1 : nearest(pending.clientX - box.left, pending.clientY - box.top);
        pending = null;
        if (photo >= 0) showCard(photo);
        else if (!card.hidden) hideCard();
      });
    }
    pending = { clientX: event.clientX, clientY: event.clientY, buttons: event.type === "click" ? 0 : event.buttons };
  };

  // Filters.
  const lower = [];
  const rejected = data.rejects.map(([path, itsLabel, itsSplit, reason]) => ({ path, itsLabel, itsSplit, reason }));
  const outcomes = predicted
    ? {
        right: (photo) => predicted[photo] === label[photo],
        wrong: (photo) => predicted[photo] !== label[photo],
        unsure: (photo) => state[photo] === 1,
        unlike: (photo) => state[photo] === 2,
      }
    : { featurized: () => true };
  const filter = () => {
    const query = $("search").value.trim().toLowerCase();
    const wanted = { label: $("label").value, split: $("split").value, outcome: $("outcome").value };
    const itsLabel = data.labels.indexOf(wanted.label.slice(1)), itsSplit = data.splits.indexOf(wanted.split.slice(1));
    const passes = outcomes[wanted.outcome] || (() => wanted.outcome === "");
    if (query && !lower.length) for (let photo = 0; photo < count; photo++) lower.push(pathOf(photo).toLowerCase());
    const kept = [];
    for (let photo = 0; photo < count; photo++) {
      if (chosenSpecies.size && !chosenSpecies.has(speciesOf[photo])) continue;
      if (wanted.label && label[photo] !== itsLabel) continue;
      if (wanted.split && split[photo] !== itsSplit) continue;
      if (!passes(photo)) continue;
      if (query && !lower[photo].includes(query)) continue;
      kept.push(photo);
    }
    shown = Uint32Array.from(kept);
    const refused = rejected.filter((row) =>
      !chosenSpecies.size && ["", "rejected"].includes(wanted.outcome)
      && (!wanted.label || row.itsLabel === wanted.label.slice(1))
      && (!wanted.split || row.itsSplit === wanted.split.slice(1))
      && (!query || row.path.toLowerCase().includes(query)));
    hideCard();
    plotPoints();
    list(refused);
  };
  const outcomeOf = (photo) => {
    if (!predicted) return words.outcome_featurized;
    if (predicted[photo] !== label[photo]) {
      return fill(words.taken_for, { label: data.labels[predicted[photo]], share: `${probability[photo]}%` });
    }
    return [words.outcome_right, words.outcome_unsure, words.outcome_unlike][state[photo]];
  };
  const list = (refused) => {
    const total = shown.length + refused.length;
    const fields = { count: format.format(total), total: format.format(count + rejected.length) };
    $("matching").textContent = fill(words.matching, fields);
    const rows = [];
    const row = (cells) => {
      const line = make("tr");
      line.append(...cells.map((cell) => {
        const node = make("td");
        node.append(cell);
        return node;
      }));
      rows.push(line);
    };
    for (const photo of shown.slice(0, LISTED)) {
      const button = make("button", words.show, { type: "button" });
      button.dataset.show = photo;
      const names = [data.labels[label[photo]] || words.none, data.splits[split[photo]]];
      row([pathOf(photo), ...names, outcomeOf(photo), button]);
    }
    for (const { path, itsLabel, itsSplit, reason } of refused.slice(0, Math.max(0, LISTED - rows.length))) {
      row([path, itsLabel, itsSplit, `${words.outcome_rejected}: ${reason}`, ""]);
    }
    const table = make("table"), head = make("tr"), body = make("tbody");
    for (const name of ["path", "label", "split", "outcome"]) head.append(make("th", words[name], { scope: "col" }));
    head.append(make("td"));
    body.append(...rows);
    const top = make("thead");
    top.append(head);
    table.append(make("caption", fill(words.first_of, { count: format.format(rows.length) })), top, body);
    $("matches").replaceChildren(table);
  };
  const clear = () => {
    for (const name of ["search", "label", "split", "outcome"]) $(name).value = "";
    chosenSpecies.clear();
    for (const button of $("species").children) button.setAttribute("aria-pressed", "false");
    filter();
  };
  const show = (photo) => {
    if (!shown.includes(photo)) clear();
    const around = planes[current].map((values) => {
      const [low, high] = bounds(values);
      return [values[photo] - (high - low) / 8, values[photo] + (high - low) / 8];
    });
    setRanges(...around);
    $("stage").scrollIntoView({ block: "center" });
    requestAnimationFrame(() => requestAnimationFrame(() => showCard(photo)));
  };
  const fillControls = () => {
    // A value begins with "=", because a label may be empty.
    const options = (names) => [make("option", words.all, { value: "" }), ...names.map((name) =>
      make("option", name || words.none, { value: `=${name}` }))];
    const used = new Set(label);
    $("label").append(...options(data.labels.filter((_, number) => used.has(number))));
    $("split").append(...options(data.splits));
    $("outcome").append(make("option", words.all, { value: "" }));
    for (const name of [...Object.keys(outcomes), ...(rejected.length ? ["rejected"] : [])]) {
      $("outcome").append(make("option", words[`outcome_${name}`], { value: name }));
    }
    for (const number of [...coloured, ...ranked.filter((other) => !coloured.includes(other)).sort((a, b) => a - b)]) {
      const button = make("button", undefined, { type: "button" });
      const dot = make("i");
      dot.style.setProperty("--dot", colourOf[number]);
      button.append(dot, `${speciesNames[number] || words.none} ${format.format(frequency[number])}`);
      button.setAttribute("aria-pressed", "false");
      button.addEventListener("click", () => {
        if (!chosenSpecies.delete(number)) chosenSpecies.add(number);
        button.setAttribute("aria-pressed", String(chosenSpecies.has(number)));
        filter();
      });
      $("species").append(button);
    }
    let waiting = 0;
    $("search").addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(filter, 120);
    });
    for (const name of ["label", "split", "outcome"]) $(name).addEventListener("change", filter);
    $("plane").addEventListener("change", () => setPlane($("plane").value));
    $("clear").addEventListener("click", clear);
    $("whole").addEventListener("click", wholeMap);
    document.addEventListener("click", (event) => {
      const button = event.target.closest("[data-show]");
      if (button) show(Number(button.dataset.show));
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape") hideCard();
    });
    for (const kind of ["pointermove", "click"]) $("map-chart").addEventListener(kind, point, { passive: true });
    $("map-chart").addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse") hideCard();
    });
  };

  // The colours of the charts follow the page's.
  const views = [];
  const paint = () => {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    for (const { model } of views) {
      for (const axis of [...model.below, ...model.left]) {
        axis.setv({
          axis_label_text_color: colour("text"), major_label_text_color: colour("quiet"),
          axis_label_text_font_style: "normal", axis_line_color: colour("line"),
          major_tick_line_color: colour("line"), minor_tick_line_color: null,
        });
      }
      for (const part of model.center) {
        if (part.type === "Grid") part.grid_line_color = colour("grid");
      }
      for (const renderer of model.renderers) {
        if (renderer.name === "line") {
          renderer.glyph.line_color = { value: colour("series") };
        }
        if (renderer.name === "k") renderer.glyph.line_color = { value: colour("accent") };
        if (renderer.name === "ring") renderer.glyph.line_color = { value: colour("text") };
      }
    }
  };
  const embed = (name) => {
    const doc = charts[name];
    const root = doc.roots[0].id;
    const item = { doc, root_id: root, target_id: `${name}-chart` };
    return Bokeh.embed.embed_item(item, $(item.target_id)).then((embedded) => embedded.get_by_id(root));
  };
  const start = async () => {
    views.push(...(await Promise.all(["map", "scree-share", "scree-sum"].map(embed))));
    view = views[0];
    plot = view.model;
    points = plot.document.get_model_by_name("points");
    marked = plot.document.get_model_by_name("marked");
    fillControls();
    setPlane("pca");
    clear();
    paint();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
    document.body.dataset.ready = "yes";
  };
  start();
})();
