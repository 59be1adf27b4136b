// A row of pictures to press. Its value is {tiles: [{picture, name, waits, files}], chosen}; a tile without a picture
// has a plus sign, and one that waits for another picture cannot be pressed.
let chooser;  // of the last tile, if that stands for the visitor's own picture
if (props.accept) {
  chooser = Object.assign(document.createElement("input"), { type: "file", hidden: true, accept: props.accept });
  element.append(chooser);
}
const row = element.querySelector(".tiles");

function press(index) {
  const { tiles, chosen } = props.value;
  if (chooser && index === tiles.length - 1 && (!tiles[index].picture || chosen === index)) return chooser.click();
  props.value = { ...props.value, chosen: index };
  draw();  // what this script sets is not watched
  trigger("select", { index, value: tiles[index].name });
}

let shown;  // the tile that was chosen when it was drawn last
function draw() {
  const { tiles, chosen } = props.value;
  while (row.children.length > tiles.length) row.lastChild.remove();
  tiles.forEach(({ picture, name, waits }, index) => {
    let tile = row.children[index];
    if (!tile) {
      tile = Object.assign(document.createElement("button"), { type: "button", className: "tile" });
      tile.append(document.createElement("span"), document.createElement("span"));
      tile.addEventListener("click", () => press(index));
      row.append(tile);
    }
    const [frame, text] = tile.children;
    text.textContent = name;
    tile.setAttribute("aria-pressed", index === chosen);
    tile.disabled = Boolean(waits);
    if (frame.dataset.picture === (picture?.url ?? "")) return;
    frame.dataset.picture = picture?.url ?? "";
    const image = Object.assign(new Image(), { alt: "", loading: "lazy", src: picture?.url ?? "" });
    frame.replaceChildren(picture ? image : "+");
  });
  // A row that scrolls, on a phone, shows the one that is chosen.
  if (row.children[chosen] && chosen !== shown) {
    const [tile, view] = [row.children[chosen], row].map((part) => part.getBoundingClientRect());
    const isInSight = tile.left >= view.left && tile.right <= view.right;
    if (!isInSight) row.scrollLeft += tile.left - view.left - (view.width - tile.width) / 2;
  }
  shown = chosen;
}

draw();
watch("value", draw);
