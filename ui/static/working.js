// While a song is made its pane stands in the place of the result: where the job is, and a stretch that can be heard.
(() => {
  "use strict";

  let pane = null;
  let back = null; // the button in the dock that leads back to the pane
  let at = null; // where the job stands; null while no song is made
  let heard = null; // the latest preview
  let isAside = false; // whether another song is shown meanwhile
  let url = "";
  const sound = new Audio();
  const hush = () => sound.pause();

  const desk = () => document.getElementById("desk");
  const part = (name) => pane?.querySelector(name);
  const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

  function draw(canvas, peaks) {
    const ratio = window.devicePixelRatio || 1;
    const width = (canvas.width = canvas.clientWidth * ratio);
    const height = (canvas.height = canvas.clientHeight * ratio);
    const pen = canvas.getContext("2d");
    pen.fillStyle = getComputedStyle(canvas).color;
    const loudest = Math.max(...peaks, 1e-3);
    peaks.forEach((peak, i) => {
      const tall = Math.max(ratio, (peak / loudest) * height * 0.84);
      pen.fillRect((i / peaks.length) * width, (height - tall) / 2, Math.max(1, (width / peaks.length) * 0.6), tall);
    });
  }

  function follow() {
    const playhead = part(".playhead");
    if (!playhead) return;
    playhead.hidden = sound.paused;
    const button = part(".hear");
    button.textContent = sound.paused ? "Play" : "Pause";
    if (sound.paused || !heard) return;
    const way = Math.min(1, sound.currentTime / heard.seconds) * part(".stage").clientWidth;
    playhead.style.transform = `translateX(${way}px)`;
    requestAnimationFrame(follow);
  }

  function paint() {
    desk()?.classList.toggle("making", Boolean(at));
    if (at) desk()?.classList.add("worked"); // from the first song on room is left for it
    desk()?.classList.toggle("aside", Boolean(at) && isAside);
    if (back) back.hidden = !(at && isAside);
    if (!pane || !at) return;
    part(".what").textContent = at.what;
    part(".stage-of").textContent = at.stage;
    part(".steps").textContent = at.total ? `${at.step} of ${at.total}` : "";
    part(".left").textContent = at.left;
    part(".bar").style.setProperty("--done", at.total ? at.step / at.total : 0);
    part(".aside").hidden = !document.getElementById("a-song");
    part(".hear").disabled = !heard;
    const end = heard ? heard.start_s + heard.seconds : 0;
    part(".heard").textContent = heard
      ? `Preview after step ${heard.step} of ${heard.total} · ${clock(heard.start_s)} – ${clock(end)}`
      : "No preview yet";
    draw(part("canvas"), heard?.peaks ?? []);
  }

  function forget() {
    sound.pause();
    sound.removeAttribute("src");
    URL.revokeObjectURL(url);
    [heard, url, isAside] = [null, "", false];
  }

  /** Takes another sound for the same stretch; what is being listened to goes on in it. */
  function take(preview) {
    const [playing, time] = [!sound.paused, sound.currentTime];
    URL.revokeObjectURL(url);
    const bytes = Uint8Array.from(atob(preview.sound), (letter) => letter.charCodeAt(0));
    url = URL.createObjectURL(new Blob([bytes], { type: "audio/wav" }));
    heard = preview;
    sound.src = url;
    if (!playing) return;
    sound.currentTime = time;
    sound.play().then(follow, follow);
  }

  /** Follows the line of progress: `working` is where a song's job stands, `preview` what can be heard of it. */
  function followJob(element, props, watch) {
    back = element.querySelector(".back");
    back.addEventListener("click", () => {
      isAside = false;
      paint();
      studio.reveal("#working");
    });
    watch("working", () => {
      const isNew = !at && Boolean(props.working);
      if (!props.working) return;
      at = props.working;
      paint();
      if (isNew) studio.reveal("#working");
    });
    watch("preview", () => {
      if (!props.preview) return;
      take(props.preview);
      paint();
    });
  }

  /** The pane itself; Gradio makes it anew when its column comes back into the page. */
  function working(element) {
    pane = element;
    part(".hear").addEventListener("click", () => {
      if (sound.paused) {
        studio.alone(hush);
        sound.play().then(follow, follow);
      } else hush();
      follow();
    });
    part(".aside").addEventListener("click", () => {
      studio.turn();
      studio.reveal("#song", "#player");
    });
    new ResizeObserver(paint).observe(part(".stage"));
    addEventListener("look", paint);
    follow();
    paint();
  }
  ["ended", "pause"].forEach((name) => sound.addEventListener(name, follow));

  /** Shows another song while one is made. */
  function aside() {
    isAside = Boolean(at);
    paint();
  }

  /** Nothing is made any more: the result stands in its place, or another job begins. */
  function unmade() {
    forget();
    at = null;
    paint();
  }

  Object.assign(window.studio, { follow: followJob, working, aside, unmade });
})();
