// What widgets do not do by themselves for a person without a mouse: names, keys, and where the keyboard goes
// when a form has ended. Without it a form works, as in front ends that run no scripts.
(element, name) => {
  const begin = (frames) => {
    const form = element.closest(".labkit-form"), cell = element.closest(".jp-Cell");
    if (!form || !cell) {
      if (frames) requestAnimationFrame(() => begin(frames - 1));
      return;
    }
    let last = null;
    const fields = "input:not([type=radio]), textarea, select, [role=slider], [contenteditable]";
    const tend = () => {
      form.querySelectorAll(fields).forEach((field) => field.setAttribute("aria-label", name));
      // Radio buttons of one name are one group: the arrow keys choose.
      form.querySelectorAll(".labkit-choices input").forEach((radio) => (radio.name = form.id));
      // Tables and words look as they do outside of a form.
      form.querySelectorAll(".widget-html-content").forEach((it) => it.classList.add("jp-RenderedHTMLCommon"));
      form.querySelectorAll(".labkit-said").forEach((line) => line.setAttribute("role", "status"));
    };
    form.id ||= `labkit-${Math.random().toString(36).slice(2)}`;
    form.setAttribute("role", "group");
    form.setAttribute("aria-label", name);
    form.addEventListener("focusin", (event) => (last = event.target));
    form.addEventListener("focusout", (event) => event.relatedTarget && (last = null));
    // A notebook takes arrows and letters for itself (d twice deletes a cell), but not where this attribute is.
    const keys = (event) => {
      const chord = event.ctrlKey || event.altKey || event.metaKey || (event.shiftKey && event.key === "Enter");
      const own = !chord && event.key !== "Escape" && event.key !== "Tab";
      if (form.contains(event.target)) event.target.toggleAttribute("data-lm-suppress-shortcuts", own);
    };
    addEventListener("keydown", keys, true);
    tend();
    new MutationObserver((_, observer) => {
      if (cell.contains(form) && form.matches(".labkit-form")) return tend();
      observer.disconnect();
      removeEventListener("keydown", keys, true);
      // The form has ended under the keyboard: it goes on at the next cell, where its person does.
      if (!last || document.activeElement !== document.body) return;
      const next = cell.nextElementSibling?.matches(".jp-Cell") ? cell.nextElementSibling : cell;
      next.focus({ preventScroll: true });
      // Of a long cell only the beginning is brought into sight: what was answered stays where it is read.
      const notebook = cell.closest(".jp-WindowedPanel-outer");
      const below = next.getBoundingClientRect().top + 60 - notebook.getBoundingClientRect().bottom;
      if (below > 0) notebook.scrollTop += below;
    }).observe(cell, { childList: true, subtree: true });
  };
  begin(600);
}
