// What is folded opens where a link leads into it, and all sections on paper.
const unfold = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target === null) return;
  const own = target.querySelector(":scope > details");
  if (own !== null) own.open = true;
  for (let part = target.closest("details"); part !== null; part = part.parentElement.closest("details")) part.open = true;
  target.scrollIntoView();
};
window.addEventListener("hashchange", unfold);
document.querySelectorAll("a[href^='#']").forEach(link => link.addEventListener("click", () => {
  if (link.hash === location.hash) unfold();
}));
unfold();
window.addEventListener("beforeprint", () => document.querySelectorAll("section > details").forEach(part => part.open = true));
document.querySelectorAll("th button").forEach(button => button.addEventListener("click", () => {
  const head = button.parentElement, table = head.closest("table"), body = table.tBodies[0];
  const column = [...head.parentElement.children].indexOf(head);
  const up = head.getAttribute("aria-sort") !== "ascending";
  head.parentElement.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const value = row => { const cell = row.cells[column]; return cell.dataset.sort ?? cell.textContent; };
  const numeric = head.classList.contains("num");
  const rows = [...body.rows].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === "" || y === "") return (x === "") - (y === "");
    const order = numeric && !isNaN(x) && !isNaN(y) ? Number(x) - Number(y) : x.localeCompare(y);
    return up ? order : -order;
  });
  body.append(...rows);
}));
document.querySelectorAll("table[data-more]").forEach(table => {
  const button = document.createElement("button");
  const say = () => {
    const folded = table.classList.contains("folded");
    button.textContent = folded ? `Show ${table.dataset.more} more rows` : `Hide ${table.dataset.more} rows`;
    button.setAttribute("aria-expanded", String(!folded));
  };
  button.type = "button";
  button.className = "fold";
  button.addEventListener("click", () => { table.classList.toggle("folded"); say(); });
  table.classList.add("folded");
  table.parentElement.after(button);
  say();
});
