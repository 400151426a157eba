// Keeps Python, which never changes under its version, so that later pages start quickly. Everything else goes to the server.
const MINE = `labkit ${self.registration.scope} `; // other sites of this origin have caches of their own
const CACHE = `${MINE}@VERSION@`;
self.addEventListener("install", (event) => event.waitUntil(self.skipWaiting()));
self.addEventListener("activate", (event) => event.waitUntil((async () => {
  for (const name of await caches.keys()) if (name.startsWith(MINE) && name !== CACHE) await caches.delete(name);
  await self.clients.claim();
})()));
self.addEventListener("fetch", (event) => {
  const path = new URL(event.request.url).pathname;
  if (event.request.method !== "GET" || !/\/live\/(?:pyodide|noble|dompurify)\/|\/live\/(?:python|compiled)\.zip$/.test(path)) return;
  event.respondWith((async () => {
    const cache = await caches.open(CACHE);
    const kept = await cache.match(event.request);
    if (kept) return kept;
    const answer = await fetch(event.request);
    if (answer.ok) event.waitUntil(cache.put(event.request, answer.clone()));
    return answer;
  })());
});
