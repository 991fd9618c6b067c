// The Library: its songs drawn from what the studio tells, page by page. What users wrote goes through textContent.
(() => {
  "use strict";

  const PAGE = 60;
  const TYPING_MS = 150;
  const SVG = "http://www.w3.org/2000/svg";
  const HIGH = 64; // of the loudest bar of a waveform, in units of its picture
  const PER_BAR = 6; // peaks that one bar stands for
  const DAY_S = 86400;

  // The view is taken out of the page while another is shown: what is asked for outlives it.
  const query = { words: "", mode: "", checkpoint: "", favourite: false, limit: PAGE };
  let deed = null;
  let uploads = [];
  let doubt = null;
  let wanting = []; // songs whose waveforms are not drawn yet
  let current = null; // the row that the keyboard is on
  const open = new Set(); // the sets whose takes are shown
  const drawn = new Map();
  const answers = new Map();

  const sought = () => ({ ...query, weigh: true });
  const acted = () => ({ ...deed, query: sought() });
  const brought = () => ({ deed: "import", paths: uploads, query: sought() });
  const doubted = () => doubt;
  const undrawn = () => wanting;

  function make(tag, className, text) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    if (tag === "button") element.type = "button";
    return element;
  }

  const gigabytes = (bytes) => (bytes < 1e8 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`);

  function age(created) {
    const seconds = Date.now() / 1000 - created;
    if (seconds < 90) return "now";
    if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
    if (seconds < DAY_S) return `${Math.round(seconds / 3600)} h ago`;
    if (seconds < 14 * DAY_S) return `${Math.round(seconds / DAY_S)} d ago`;
    return new Date(created * 1000).toISOString().slice(0, 10);
  }

  /** The waveform of base64 peaks, in bars that take their colour from the style sheet. */
  function wave(peaks) {
    const picture = document.createElementNS(SVG, "svg");
    const shape = document.createElementNS(SVG, "path");
    const levels = Array.from(atob(peaks), (letter) => letter.charCodeAt(0));
    const loudest = Math.max(...levels, 1);
    const bars = Array.from({ length: Math.ceil(levels.length / PER_BAR) }, (_, bar) => {
      const level = Math.max(...levels.slice(bar * PER_BAR, (bar + 1) * PER_BAR));
      const tall = Math.max(1, (level / loudest) * HIGH);
      return `M${bar} ${((HIGH - tall) / 2).toFixed(1)}h.6v${tall.toFixed(1)}h-.6z`;
    });
    picture.setAttribute("viewBox", `0 0 ${Math.max(bars.length, 1)} ${HIGH}`);
    picture.setAttribute("preserveAspectRatio", "none");
    picture.ariaHidden = "true";
    shape.setAttribute("d", bars.join(""));
    picture.append(shape);
    return picture;
  }

  function library(element, props, trigger, watch, upload) {
    const part = (name) => element.querySelector(name);
    const grid = part(".rows");
    const names = Object.fromEntries(Array.from(part(".modes").options, ({ value, text }) => [value, text]));
    let menu = null;
    let typing = 0;
    let isRenaming = false;
    let isStale = false; // whether there is something new to draw once the hand is off the list

    const ask = () => trigger("tick");
    const act = (what, facts = {}) => {
      deed = { deed: what, ...facts };
      trigger("apply");
    };

    const rows = () => [...grid.querySelectorAll(".row")];
    const rowOf = (id) => rows().find((row) => row.song.id === id);
    const songs = () => (props.value?.sets ?? []).flat();

    // ---- rows

    function cell(...parts) {
      const box = make("div");
      box.role = "gridcell";
      box.append(...parts);
      return box;
    }

    function facts(song) {
      const told = [names[song.mode] ?? song.mode, song.length, age(song.created)];
      if (song.mode !== "recording") told.push(`seed ${song.seed}`, song.checkpoint);
      return told.join(" · ");
    }

    function row(song, set) {
      const line = make("div", "row");
      const [words, name, facet] = [make("div", "about"), make("p", "name", song.name), make("p", "facts", facts(song))];
      Object.assign(line, { role: "row", tabIndex: -1, song, takes: set.map((take) => take.id) });
      words.append(name, facet);
      if (song.source) {
        const source = make("button", "source", `of ${song.source.name}`);
        source.addEventListener("click", () => openSong(song.source.id, [song.source.id]));
        words.append(source);
      }
      if (set.length > 1) {
        name.textContent += ` · take ${song.take + 1}`;
        if (song === set[0]) words.append(folder(set));
      }
      if (answers.has(song.id)) words.append(make("p", "answer", answers.get(song.id)));
      const star = make("button", "star", song.favourite ? "★" : "☆");
      star.ariaLabel = `Favourite ${song.name}`;
      star.ariaPressed = String(song.favourite);
      star.addEventListener("click", () => favour(song));
      const more = make("button", "menu", "⋯");
      more.ariaLabel = `More about ${song.name}`;
      more.ariaHasPopup = "menu";
      more.addEventListener("click", () => openMenu(line, more));
      const peaks = song.peaks || drawn.get(song.id) || "";
      line.append(cell(wave(peaks)), cell(words), cell(star, more));
      line.children[0].className = "wave";
      line.children[2].className = "ends";
      line.classList.toggle("take", song !== set[0]);
      return line;
    }

    function folder(set) {
      const isOpen = open.has(set[0].id);
      const fold = make("button", "fold", isOpen ? "Hide the other takes" : `${set.length} takes`);
      fold.ariaExpanded = String(isOpen);
      fold.addEventListener("click", () => {
        open.delete(set[0].id) || open.add(set[0].id);
        paint();
      });
      return fold;
    }

    function paint() {
      isStale = isRenaming || Boolean(menu);
      if (isStale) return;
      const { sets = [], total = 0, hasMore = false, told = "", trash } = props.value ?? {};
      const hadFocus = grid.contains(document.activeElement);
      const shown = sets.flatMap((set) => set.slice(0, open.has(set[0].id) ? set.length : 1).map((song) => row(song, set)));
      const place = rows().findIndex((line) => line.song.id === current);
      grid.replaceChildren(...shown);
      grid.hidden = !shown.length;
      part(".more").hidden = !hasMore;
      const lead = rowOf(current) ?? shown[Math.min(Math.max(place, 0), shown.length - 1)];
      if (lead) {
        lead.tabIndex = 0;
        current = lead.song.id;
        if (hadFocus) lead.focus({ preventScroll: true });
      }
      const isFiltered = query.words || query.mode || query.checkpoint || query.favourite;
      const none = isFiltered ? "No song is like that." : "No songs yet.";
      const count = total ? `${total} ${total === 1 ? "song" : "songs"}` : none;
      const gone = trash?.ids.length ?? 0;
      const lost = gone ? `${gone === 1 ? `${trash.names[0]} was` : `${gone} songs were`} deleted.` : "";
      part(".told p").textContent = props.value?.sets ? [count, told, lost].filter(Boolean).join(" · ") : "";
      part(".undo").hidden = !gone;
      paintTools();
      paintStorage();
      draw();
    }

    function options(select, first, names, value) {
      const all = [...new Set([...names, value].filter(Boolean))];
      const made = all.map((each) => new Option(each, each, false, each === value));
      select.replaceChildren(new Option(first, ""), ...made);
    }

    function paintTools() {
      part(".modes").value = query.mode;
      options(part(".weights"), "All checkpoints", props.value?.checkpoints ?? [], query.checkpoint);
      part(".starred").ariaPressed = String(query.favourite);
      if (document.activeElement !== part(".words")) part(".words").value = query.words;
    }

    function paintStorage() {
      const { storage } = props.value ?? {};
      if (!storage) return;
      const bin = storage.trash ? `, ${gigabytes(storage.trash)} in the trash` : "";
      part(".used").textContent = `${gigabytes(storage.used)} used${bin}`;
      part(".bound").hidden = !storage.bounded;
      const bound = part(".bound input");
      if (document.activeElement !== bound) bound.value = storage.bound ?? "";
      const count = storage.over.length;
      part(".prune").hidden = !count;
      part(".prune").textContent = `Delete the ${count === 1 ? "oldest song" : `${count} oldest songs`}, ${gigabytes(storage.freed ?? 0)}`;
      part(".empty").hidden = !storage.bounded || !storage.trash;
    }

    /** Asks for the waveforms that nobody has drawn yet, a few at a time. */
    function draw() {
      wanting = songs().filter((song) => !song.peaks && !drawn.has(song.id)).map((song) => song.id);
      if (wanting.length) trigger("expand");
    }

    // ---- what can be done

    function openSong(id, takes, turn = false) {
      window.studio.turn();
      window.studio.recall(id, takes, turn);
      const line = rowOf(id);
      if (line) step(line);
    }

    function favour(song) {
      song.favourite = !song.favourite;
      paint();
      act("favour", { id: song.id, on: song.favourite });
    }

    function rename(line) {
      const field = make("input", "rename");
      const before = line.song.given || line.song.name;
      field.value = before;
      field.ariaLabel = `Name of ${line.song.name}`;
      field.maxLength = 200;
      line.querySelector(".name").replaceWith(field);
      isRenaming = true;
      const end = (isKept) => {
        if (!isRenaming) return;
        isRenaming = false;
        const name = field.value.trim();
        if (isKept && name !== before) act("rename", { id: line.song.id, name });
        paint();
        rowOf(line.song.id)?.focus({ preventScroll: true });
      };
      field.addEventListener("keydown", (event) => {
        event.stopPropagation();
        if (event.key === "Enter") end(true);
        if (event.key === "Escape") end(false);
      });
      field.addEventListener("blur", () => end(true));
      field.addEventListener("click", (event) => event.stopPropagation());
      field.select();
      field.focus();
    }

    function remove(line) {
      const all = rows();
      const next = all[all.indexOf(line) + 1] ?? all[all.indexOf(line) - 1];
      const { id } = line.song;
      if (next) step(next);
      act("delete", { id });
    }

    const DEEDS = [
      ["Open", (line) => openSong(line.song.id, line.takes)],
      ["Settings in the form", (line) => openSong(line.song.id, line.takes, true)],
      ["Rename", rename],
      ["Same samples again?", (line) => {
        doubt = line.song.id;
        trigger("retry");
      }],
      ["Delete", remove],
    ];

    function closeMenu() {
      const closed = menu;
      menu = null; // what is removed loses the focus, which closes it once more
      closed?.opener.setAttribute("aria-expanded", "false");
      closed?.remove();
      if (isStale) paint();
    }

    function openMenu(line, opener) {
      if (menu) return closeMenu();
      menu = make("div", "deeds");
      menu.role = "menu";
      menu.opener = opener;
      for (const [words, doIt] of DEEDS) {
        const item = make("button", "", words);
        item.role = "menuitem";
        item.addEventListener("click", () => {
          closeMenu();
          const here = rowOf(line.song.id) ?? line; // it may have been drawn anew
          here.focus({ preventScroll: true });
          doIt(here);
        });
        if (line.song.mode !== "recording" || !words.startsWith("Same") && !words.startsWith("Settings")) menu.append(item);
      }
      menu.addEventListener("keydown", (event) => {
        const items = [...menu.children];
        const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
        event.stopPropagation();
        if (move) items.at((items.indexOf(document.activeElement) + move) % items.length).focus();
        if (event.key === "Escape" || event.key === "Tab") closeMenu();
        if (event.key === "Escape") opener.focus();
        if (move) event.preventDefault();
      });
      opener.parentElement.append(menu);
      opener.setAttribute("aria-expanded", "true");
      menu.firstChild.focus({ preventScroll: true });
    }

    // ---- keys and clicks

    function step(line) {
      rows().forEach((each) => (each.tabIndex = each === line ? 0 : -1));
      current = line.song.id;
      line.focus();
      line.scrollIntoView({ block: "nearest" });
    }

    grid.addEventListener("keydown", (event) => {
      const line = event.target.closest(".row");
      if (!line || event.ctrlKey || event.metaKey || event.altKey) return;
      const all = rows();
      const at = all.indexOf(line);
      const move = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
      const onRow = event.target === line;
      if (move !== undefined) all[Math.min(Math.max(move, 0), all.length - 1)] && step(all[Math.min(Math.max(move, 0), all.length - 1)]);
      else if (onRow && event.key === "Enter") openSong(line.song.id, line.takes);
      else if (onRow && event.key === "Delete") remove(line);
      else if (onRow && event.key === "F2") rename(line);
      else if (onRow && event.key.toLowerCase() === "f") favour(line.song);
      else return;
      event.preventDefault();
    });
    grid.addEventListener("click", ({ target }) => {
      const line = target.closest(".row");
      if (line && !target.closest("button, input")) openSong(line.song.id, line.takes);
    });
    element.addEventListener("focusout", ({ relatedTarget }) => {
      if (menu && !menu.contains(relatedTarget) && relatedTarget !== menu.opener) closeMenu();
    });

    // ---- tools

    const seek = (facts) => {
      Object.assign(query, { limit: PAGE }, facts);
      ask();
    };
    part(".tools .words").addEventListener("input", ({ target }) => {
      clearTimeout(typing);
      typing = setTimeout(() => seek({ words: target.value }), TYPING_MS);
    });
    part(".modes").addEventListener("change", ({ target }) => seek({ mode: target.value }));
    part(".weights").addEventListener("change", ({ target }) => seek({ checkpoint: target.value }));
    part(".starred").addEventListener("click", () => seek({ favourite: !query.favourite }));
    part(".more").addEventListener("click", () => {
      query.limit += PAGE;
      ask();
    });
    part(".undo").addEventListener("click", () => act("restore", { ids: props.value.trash.ids }));
    part(".prune").addEventListener("click", () => act("prune", { ids: props.value.storage.over }));
    part(".empty").addEventListener("click", () => act("empty"));
    part(".bound input").addEventListener("change", ({ target }) => {
      act("bound", { bound: target.value === "" ? null : Number(target.value) });
    });

    async function bring(files) {
      const said = part(".told p");
      said.textContent = "Reading";
      try {
        const told = await Promise.all(Array.from(files, (file) => upload(file)));
        uploads = told.map(({ path }) => path);
        trigger("upload");
      } catch {
        said.textContent = "The recording could not be sent.";
      }
    }
    part(".bring").addEventListener("click", () => part(".files").click());
    part(".files").addEventListener("change", ({ target }) => {
      bring(target.files);
      target.value = "";
    });
    const section = part(".library");
    const holdsFiles = ({ dataTransfer }) => dataTransfer?.types.includes("Files");
    section.addEventListener("dragover", (event) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      section.classList.add("dropping");
    });
    section.addEventListener("dragleave", ({ relatedTarget }) => {
      if (!section.contains(relatedTarget)) section.classList.remove("dropping");
    });
    section.addEventListener("drop", (event) => {
      section.classList.remove("dropping");
      if (!holdsFiles(event)) return;
      event.preventDefault();
      bring(event.dataTransfer.files);
    });

    watch("value", paint);
    watch("drawn", () => {
      for (const [id, peaks] of Object.entries(props.drawn ?? {})) drawn.set(id, peaks);
      wanting.slice(0, Object.keys(props.drawn ?? {}).length || wanting.length).forEach((id) => drawn.has(id) || drawn.set(id, ""));
      for (const line of rows()) {
        const peaks = drawn.get(line.song.id);
        if (peaks && !line.song.peaks) line.querySelector(".wave").replaceChildren(wave(peaks));
      }
      draw();
    });
    watch("replay", () => {
      for (const [id, words] of Object.entries(props.replay ?? {})) answers.set(id, words);
      paint();
    });
    paint();

    // The newest songs whenever the view comes into sight, and when the page does.
    new IntersectionObserver(([entry]) => entry.isIntersecting && ask()).observe(part(".tools"));
    addEventListener("focus", () => element.checkVisibility() && ask());
  }

  Object.assign(window.studio, { library, sought, acted, brought, doubted, undrawn });
})();
