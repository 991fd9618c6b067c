// Where form and result stand one above the other the page moves to where something happens, and a small player stays
// in reach of the thumb while the large one is out of sight.
(() => {
  "use strict";

  const stacked = matchMedia("(max-width: 768px)"); // as in the style sheets
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const FRAMES = 60; // what an answer shows is there within so many
  const FORM = "#send-cover, #send-extend, #send-edit, #stems .send, #use-lyrics, #modes label";

  const find = (selector) => document.querySelector(selector);
  const isTyping = () => document.activeElement?.matches("textarea, input:is([type=text], [type=number], :not([type]))");

  function isInSight(element) {
    const { top, bottom } = element.getBoundingClientRect();
    return top >= 0 && bottom <= innerHeight;
  }

  /** Moves the page to an element as soon as it is there. */
  function go(selector, frames = FRAMES) {
    requestAnimationFrame(() => {
      const element = find(selector);
      const isThere = element?.checkVisibility();
      // One frame more lets what came with the same answer take its place first.
      if (isThere && frames < FRAMES) element.scrollIntoView({ behavior: calm.matches ? "auto" : "smooth" });
      else if (frames) go(selector, frames - 1);
    });
  }

  /** Moves the page to a result that has come, unless `heart` of it is in sight or the user is writing. */
  function reveal(selector, heart = selector) {
    const element = find(heart);
    if (stacked.matches && !isTyping() && !(element && isInSight(element))) go(selector);
  }

  document.addEventListener("click", ({ target }) => {
    if (!stacked.matches || !target.closest) return;
    if (target.closest(FORM)) go("#work");
    if (target.closest("#reuse-plan")) go("#generate-plan");
  });

  // ---- the small player: it presses the buttons of the large one, whose sound belongs to Gradio (seen in 6.31)

  const large = () => document.getElementById("player");
  const lever = () => large()?.querySelector(".play-pause-button");
  let small = null;

  function build() {
    small = document.createElement("div");
    small.id = "small-player";
    small.role = "group";
    small.ariaLabel = "Player";
    const [play, title, time] = ["button", "button", "span"].map((tag) => document.createElement(tag));
    play.className = "play";
    play.addEventListener("click", () => lever()?.click());
    title.className = "title";
    title.addEventListener("click", () => go("#result"));
    time.className = "time";
    small.append(play, title, time);
    find("#dock").prepend(small);
  }

  const sight = new IntersectionObserver(([entry]) => {
    small.hidden = entry.isIntersecting || !large();
    makeRoom();
  });

  function repaint() {
    const words = (selector) => large()?.querySelector(selector)?.textContent ?? "";
    const isPlaying = lever()?.ariaLabel === "Pause";
    const [play, title, time] = small.children;
    play.ariaLabel = isPlaying ? "Pause" : "Play";
    play.classList.toggle("playing", isPlaying);
    title.textContent = find("#song-title [data-text]")?.textContent ?? "";
    time.textContent = `${words("#time")} / ${words("#duration")}`;
  }

  const follower = new MutationObserver(repaint);

  /** The title of the song that is shown: when it changes a song has come. */
  function title(element, props, watch) {
    studio.text(element, props, watch);
    const show = () => {
      if (!large()) return;
      if (!small?.isConnected) build();
      sight.disconnect();
      sight.observe(large());
      follower.disconnect();
      follower.observe(large(), { subtree: true, childList: true, characterData: true, attributeFilter: ["aria-label"] });
      repaint();
      reveal("#song", "#player");
    };
    const come = () => requestAnimationFrame(show); // the player beside the title is made in the same turn
    watch("value", come);
    come();
  }

  // The dock and the small player lie over the end of the page, which leaves them room.
  function makeRoom() {
    const room = stacked.matches ? find("#dock").offsetHeight + (small?.offsetHeight ?? 0) : 0;
    document.documentElement.style.setProperty("--dock", `${room}px`);
  }

  const settled = new MutationObserver(() => {
    const dock = document.getElementById("dock");
    if (!dock) return;
    settled.disconnect();
    new ResizeObserver(makeRoom).observe(dock);
  });
  settled.observe(document, { subtree: true, childList: true });

  Object.assign(window.studio, { title, reveal });
})();
