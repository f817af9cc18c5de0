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
  const MOST_SPECIES = 40; // with a button of their own
  const UNSURE = 1, UNLIKE = 2; // states of an answer; 0 is known
  // Each has a contrast of 3 or more to a light and to a dark page, and differs from all others.
  const PALETTE = [
    "#fc0078", "#008400", "#4266d8", "#fc6000", "#a842d2", "#2aa2ae", "#f030e4", "#4ea800", "#de6cb4", "#307e78",
    "#908ae4", "#9c601e", "#c68400", "#ba424e", "#2aa872", "#8a8a1e", "#d27e6c", "#6c7290", "#069cea", "#7e5aae",
  ];
  const OTHERS = "#8a8a8a";

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
  const percentage = new Intl.NumberFormat(document.documentElement.lang, { style: "percent" });
  // French has a space before the sign: here a narrow one, as in the other texts of the page.
  const percent = (hundredths) => percentage.format(hundredths / 100).replace("\u00a0", "\u202f");
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

  // Pictures: a sheet is decoded before its first picture is drawn, and in printing at once.
  const sheets = new Map();
  const sheetOf = (photo) => Math.floor(place[photo] / data.perSheet);
  const sheet = (number) => {
    if (!sheets.has(number)) {
      const image = Object.assign(new Image(), { src: data.sheets[number] });
      const loaded = { image, isDecoded: false };
      loaded.decoded = image.decode().then(() => { loaded.isDecoded = true; });
      sheets.set(number, loaded);
    }
    return sheets.get(number);
  };
  const drawFrom = (image, canvas, photo) => {
    const onSheet = place[photo] % data.perSheet;
    const x = (onSheet % data.columns) * data.side;
    const y = Math.floor(onSheet / data.columns) * data.side;
    canvas.getContext("2d").drawImage(image, x, y, data.side, data.side, 0, 0, data.side, data.side);
    canvas.dataset.drawn = photo;
  };
  const drawNothing = (canvas, photo) => {
    const context = canvas.getContext("2d");
    context.fillStyle = "#5a646c";
    context.fillRect(0, 0, data.side, data.side);
    context.fillStyle = "#ffffff";
    context.font = `${Math.max(8, data.side / 8)}px sans-serif`;
    context.textAlign = "center";
    context.fillText(words.no_picture, data.side / 2, data.side / 2, data.side);
    canvas.dataset.drawn = photo;
  };
  const draw = (canvas, photo) => {
    canvas.dataset.photo = photo;
    canvas.width = canvas.height = data.side; // this also clears it
    if (place[photo] < 0) return drawNothing(canvas, photo);
    const { image, isDecoded, decoded } = sheet(sheetOf(photo));
    if (isDecoded) return drawFrom(image, canvas, photo);
    return decoded.then(() => {
      if (Number(canvas.dataset.photo) === photo) drawFrom(image, canvas, photo);
    });
  };
  const pictures = [...document.querySelectorAll(".picture canvas")];
  const idle = () => new Promise((done) => {
    if (window.requestIdleCallback) requestIdleCallback(done, { timeout: 1000 });
    else setTimeout(done, 50);
  });
  const drawPictures = async () => {
    const numbers = new Set(pictures.map((canvas) => sheetOf(Number(canvas.dataset.photo))));
    for (const number of numbers) if (number >= 0) sheet(number);
    for (const number of numbers) {
      await idle();
      const photos = pictures.map((canvas) => Number(canvas.dataset.photo));
      await Promise.all(pictures.map((canvas, at) => sheetOf(photos[at]) === number && draw(canvas, photos[at])));
    }
  };
  const drawPicturesNow = () => {
    for (const canvas of pictures.filter((one) => !("drawn" in one.dataset))) {
      const photo = Number(canvas.dataset.photo);
      draw(canvas, photo);
      const { image } = place[photo] < 0 ? {} : sheet(sheetOf(photo));
      if (image && image.complete) drawFrom(image, canvas, photo);
    }
  };

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
    if (predicted) lines.push([outcomeOf(photo)]);
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

  // What the classifier answers: the filter and the text of one photo.
  const isRight = (photo) => predicted[photo] === label[photo];
  const hasLabel = (photo) => data.labels[label[photo]] !== "";
  const outcomes = predicted
    ? {
        right: (photo) => isRight(photo) && state[photo] !== UNSURE && state[photo] !== UNLIKE,
        unsure: (photo) => isRight(photo) && state[photo] === UNSURE,
        wrong: (photo) => hasLabel(photo) && !isRight(photo),
        unlike: (photo) => state[photo] === UNLIKE,
        unlabelled: (photo) => !hasLabel(photo),
      }
    : { featurized: () => true };
  const outcomeOf = (photo) => {
    const texts = [];
    const fields = () =>
      ({ label: data.labels[predicted[photo]], share: percent(probability[photo]) });
    if (!predicted) texts.push(words.outcome_featurized);
    else if (outcomes.right(photo)) texts.push(words.outcome_right);
    else if (outcomes.unsure(photo)) texts.push(words.outcome_unsure);
    else if (outcomes.wrong(photo)) texts.push(fill(words.taken_for, fields()));
    else if (state[photo] !== UNLIKE) texts.push(fill(words.recognized_as, fields()));
    if (predicted && outcomes.unlike(photo)) texts.push(words.outcome_unlike);
    return texts.join("; ");
  };

  // Filters.
  const lower = [];
  const rejected = data.rejects.map(([path, itsLabel, itsSplit, reason]) =>
    ({ path, itsLabel: itsLabel || "", itsSplit: itsSplit || "", reason }));
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
  const list = (refused) => {
    const held = count + rejected.length;
    const total = (data.total ?? count) + (data.rejectTotal ?? rejected.length);
    const fields = { count: shown.length + refused.length, held, total };
    for (const name of Object.keys(fields)) fields[name] = format.format(fields[name]);
    $("matching").textContent = fill(held < total ? words.matching_sample : words.matching, fields);
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
    const last = make("th", undefined, { scope: "col" });
    last.append(make("span", words.show, { className: "hidden-word" }));
    head.append(last);
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
    const unique = (names, more) => [...new Set([...names, ...more])].sort();
    const used = Array.from(new Set(label), (number) => data.labels[number]);
    $("label").append(...options(unique(used, rejected.map((row) => row.itsLabel))));
    $("split").append(...options(unique(data.splits, rejected.map((row) => row.itsSplit))));
    $("outcome").append(make("option", words.all, { value: "" }));
    const names = Object.keys(outcomes).filter((name) => name !== "unlabelled" || used.includes(""));
    for (const name of [...names, ...(rejected.length ? ["rejected"] : [])]) {
      $("outcome").append(make("option", words[`outcome_${name}`], { value: name }));
    }
    const species = (numbers, name, colour) => {
      const button = make("button", undefined, { type: "button" });
      const dot = make("i");
      dot.style.setProperty("--dot", colour);
      button.append(dot, name);
      button.setAttribute("aria-pressed", "false");
      button.addEventListener("click", () => {
        const isChosen = button.getAttribute("aria-pressed") === "false";
        for (const number of numbers) chosenSpecies[isChosen ? "add" : "delete"](number);
        button.setAttribute("aria-pressed", String(isChosen));
        filter();
      });
      $("species").append(button);
    };
    const grey = ranked.slice(PALETTE.length, MOST_SPECIES).sort((first, second) => first - second);
    for (const number of [...coloured, ...grey]) {
      const name = `${speciesNames[number] || words.none} ${format.format(frequency[number])}`;
      species([number], name, colourOf[number]);
    }
    const others = ranked.slice(MOST_SPECIES);
    if (others.length) species(others, fill(words.other_species, { count: format.format(others.length) }), OTHERS);
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
        if (renderer.data_source === points) renderer.glyph.fill_alpha = { value: 1 };
      }
    }
  };
  const embed = (name) => {
    const doc = charts[name];
    const root = doc.roots[0].id;
    const item = { doc, root_id: root, target_id: `${name}-chart` };
    return Bokeh.embed.embed_item(item, $(item.target_id)).then((embedded) => embedded.get_by_id(root));
  };
  // Paper is light, and a chart on it is a picture, since no chart fits itself to a paper's width.
  const beforePrint = () => {
    document.documentElement.dataset.print = "yes";
    paint();
    drawPicturesNow();
    for (const chart of views) {
      for (const renderer of chart.model.renderers) {
        const { glyph, all_indices: all } = chart.views.get_one(renderer);
        glyph.set_visuals(renderer.data_source, all); // Bokeh itself takes new colours over only later
      }
      const picture = chart.export("png").canvas;
      picture.className = "printed";
      chart.el.parentElement.append(picture);
    }
  };
  const afterPrint = () => {
    delete document.documentElement.dataset.print;
    for (const picture of document.querySelectorAll(".printed")) picture.remove();
    paint();
  };
  // A finger that moves up or down scrolls the page; one that moves sideways, and two, move and zoom the chart.
  const letFingersScroll = () => {
    for (const { canvas, el, model } of views) {
      const ranges = [model.x_range, model.y_range];
      let before = [];
      canvas.events_el.style.touchAction = "pan-y";
      const remember = () => { before = ranges.map(({ start, end }) => ({ start, end })); };
      // The chart has followed the finger until the page began to scroll.
      const takeBack = () => ranges.forEach((range, at) => range.setv(before[at]));
      el.addEventListener("pointerdown", remember, { capture: true });
      el.addEventListener("pointercancel", takeBack, { capture: true }); // Bokeh lets it go no further
    }
  };
  const start = async () => {
    drawPictures();
    views.push(...(await Promise.all(["map", "scree-share", "scree-sum"].map(embed))));
    view = views[0];
    plot = view.model;
    points = plot.document.get_model_by_name("points");
    marked = plot.document.get_model_by_name("marked");
    letFingersScroll();
    fillControls();
    setPlane("pca");
    clear();
    paint();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
    addEventListener("beforeprint", beforePrint);
    addEventListener("afterprint", afterPrint);
    document.body.dataset.ready = "yes";
  };
  start();
})();
