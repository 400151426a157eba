// The search of a published run: filters what stands on this page. Without a script the page is the same list,
// and the browser's own search finds its words.
"use strict";
{
  const box = document.querySelector(".search input");
  const count = document.querySelector(".search output");
  const parts = [...document.querySelectorAll(".part")].map((element) => {
    const text = element.querySelector(".text");
    const title = element.querySelector("h3").textContent.toLowerCase();
    return { element, text, title, words: text.textContent, lower: text.textContent.toLowerCase() };
  });

  const excerpt = (part, asked) => {
    const at = Math.max(0, Math.min(...asked.map((word) => part.lower.indexOf(word)).filter((at) => at >= 0)));
    const from = Number.isFinite(at) && at > 80 ? part.words.indexOf(" ", at - 80) + 1 : 0;
    const end = part.words.length > from + 240 ? part.words.lastIndexOf(" ", from + 240) : part.words.length;
    return (from ? "… " : "") + part.words.slice(from, end) + (end < part.words.length ? " …" : "");
  };

  const marked = (text, asked) => {
    const pattern = asked.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|");
    return text.split(new RegExp(`(${pattern})`, "i")).map((piece, number) => {
      if (number % 2 === 0) return piece;
      const mark = document.createElement("mark");
      mark.textContent = piece;
      return mark;
    });
  };

  const search = () => {
    const asked = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    for (const part of parts) {
      const hit = asked.every((word) => part.title.includes(word) || part.lower.includes(word));
      part.element.hidden = !hit;
      found += hit;
      if (asked.length === 0) part.text.textContent = part.words;
      else if (hit) part.text.replaceChildren(...marked(excerpt(part, asked), asked));
      part.element.style.order = asked.length && asked.every((word) => part.title.includes(word)) ? -1 : 0;
    }
    document.body.classList.toggle("searching", asked.length > 0);
    count.textContent = asked.length === 0 ? "" : found === 0 ? "Nothing found." : `Found in ${found} places.`;
    history.replaceState(null, "", asked.length ? `#q=${encodeURIComponent(box.value)}` : location.pathname);
  };

  document.body.classList.add("with-search");
  document.querySelector(".search").hidden = false;
  if (location.hash.startsWith("#q=")) box.value = decodeURIComponent(location.hash.slice(3));
  box.addEventListener("input", search);
  if (box.value) search();
  box.focus();
}
