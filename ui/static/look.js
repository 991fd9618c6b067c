// The look of the page: dark, light, or as the system wishes. It is decided before anything is painted.
(() => {
  "use strict";

  const KEPT = "ace-music-studio-look";
  const LOOKS = ["system", "light", "dark"];
  const light = matchMedia("(prefers-color-scheme: light)");
  let wish = "system"; // where a browser keeps nothing it lasts as long as the page

  function recall() {
    try {
      const kept = localStorage.getItem(KEPT);
      if (LOOKS.includes(kept)) wish = kept;
    } catch {
      // a browser that keeps nothing
    }
  }

  /** Shows the page as it is wished; what is drawn on a canvas hears of it by the window's event `look`. */
  function paint() {
    const look = wish === "system" ? (light.matches ? "light" : "dark") : wish;
    if (document.documentElement.dataset.look === look) return;
    document.documentElement.dataset.look = look;
    dispatchEvent(new Event("look"));
  }

  /** The switch in the header. */
  function look(element) {
    const list = element.querySelector("select");
    const show = () => (list.value = wish);
    list.addEventListener("change", () => {
      wish = list.value;
      try {
        localStorage.setItem(KEPT, wish);
      } catch {
        // it lasts as long as the page
      }
      paint();
    });
    addEventListener("look", show);
    show();
  }

  recall();
  paint();
  light.addEventListener("change", paint);
  addEventListener("storage", ({ key }) => {
    if (key !== KEPT) return;
    recall();
    paint();
  });

  window.studio = { ...window.studio, look };
})();
