// Every few seconds the same page is fetched again; parts that hold figures take over what it says. Without this script
// the page shows the same figures, as of when it was loaded.
"use strict";

const EVERY_MS = 5000;

function isInUse(part) {
  const chosen = document.getSelection();
  return part.contains(document.activeElement) || (chosen && !chosen.isCollapsed && chosen.containsNode(part, true));
}

async function refresh() {
  const answer = await fetch(location.href, { cache: "no-store" });
  if (!answer.ok) throw new Error("the server answered " + answer.status);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const other = fresh.getElementById(part.id);
    if (other && other.innerHTML !== part.innerHTML && !isInUse(part)) part.replaceChildren(...other.childNodes);
  }
}

async function keepFresh() {
  const told = document.getElementById("not-live");
  if (told === null) return;
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    if (document.hidden) continue;
    try {
      await refresh();
      told.textContent = "";
    } catch (error) {
      told.textContent = "Not live: " + error.message + ". These figures are the last ones.";
    }
  }
}

keepFresh();
