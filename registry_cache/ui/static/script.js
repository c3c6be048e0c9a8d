"use strict";
// Everything works without this. It adds a button to what is to be copied, and keeps numbers fresh while somebody looks.
const SECONDS = 10;

function addButton(block) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(block.textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  block.before(button);
}

async function refresh() {
  if (document.hidden) return;
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
  if (!answer || !answer.ok) return;
  const next = new DOMParser().parseFromString(await answer.text(), "text/html");
  document.title = next.title;
  for (const now of document.querySelectorAll("[data-live]")) {
    const then = next.getElementById(now.id);
    // What somebody is at must not go away under their hands.
    if (then && !now.contains(document.activeElement) && now.innerHTML !== then.innerHTML) now.replaceWith(then);
  }
}

// Only a safe origin may write into the clipboard; elsewhere the text is selected by hand.
if (navigator.clipboard) document.querySelectorAll("[data-copy]").forEach(addButton);
if (document.querySelector("[data-live]")) setInterval(refresh, SECONDS * 1000);
