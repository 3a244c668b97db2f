// Keys, a warning when live updates stop, and the viewer's time zone for the server. All else works without it.
"use strict";

(() => {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  document.cookie = `kitsweep_zone=${encodeURIComponent(zone)}; path=/dashboard; max-age=31536000; samesite=strict`;

  const pages = { o: "", r: "/requests", a: "/approvals", f: "/failures", c: "/cleanup" };
  const help = document.getElementById("keys");
  const search = document.getElementById("find");
  const button = document.querySelector("[data-keys]");

  if (button) {
    button.hidden = false;
    button.addEventListener("click", () => help.showModal());
  }

  // A page that is no longer live must not look as if it were.
  const stale = document.getElementById("stale");
  document.addEventListener("htmx:sse:error", (event) => {
    if (event.detail.status === 401) location.reload();
    else stale.hidden = false;
  });
  // htmx connects again after a lost connection, but not if the first one failed.
  document.addEventListener("htmx:error", (event) => {
    if (!event.target.hasAttribute("hx-sse:connect")) return;
    stale.hidden = false;
    setTimeout(() => htmx.trigger(event.target, "again"), 2000);
  });
  document.addEventListener("htmx:sse:after:connection", () => {
    stale.hidden = true;
  });

  const isTyping = (target) => target.closest("input, textarea, select, [contenteditable]");

  function step(by) {
    const links = [...document.querySelectorAll("main tbody th a")];
    if (!links.length) return;
    const at = links.indexOf(document.activeElement);
    links[Math.min(links.length - 1, Math.max(0, at + by))].focus();
  }

  document.addEventListener("keydown", (event) => {
    if (!help || event.ctrlKey || event.metaKey || event.altKey || help.open || isTyping(event.target)) return;
    if (event.key === "?") help.showModal();
    else if (event.key === "/") search.focus();
    else if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else if (event.key in pages) location.assign(document.querySelector(".brand").getAttribute("href") + pages[event.key]);
    else return;
    event.preventDefault();
  });
})();
