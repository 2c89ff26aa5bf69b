// A surface to draw on, and what a model sees of it: white on black, averaged down.
const INK = "#fff", PAPER = "#000";

export function surface(root, columns, changed) {
  const canvas = root.querySelector("[data-draw]"), pen = canvas.getContext("2d", {willReadFrequently: true});
  let drawing = false, inked = false;
  pen.lineWidth = Math.max(canvas.width * 0.085, canvas.width / columns * 1.35);   // as thick as strokes are in data of this size
  pen.lineCap = pen.lineJoin = "round";
  const mark = on => { inked = on; canvas.parentElement.classList.toggle("inked", on); };
  const clear = () => { pen.fillStyle = PAPER; pen.fillRect(0, 0, canvas.width, canvas.height); mark(false); };
  const at = e => { const r = canvas.getBoundingClientRect(); return [(e.clientX - r.left) * canvas.width / r.width, (e.clientY - r.top) * canvas.height / r.height]; };
  canvas.addEventListener("pointerdown", e => {
    e.preventDefault();
    canvas.setPointerCapture(e.pointerId);
    drawing = true;
    mark(true);
    pen.strokeStyle = INK;
    pen.beginPath();
    pen.moveTo(...at(e));
    pen.lineTo(...at(e));
    pen.stroke();
  });
  canvas.addEventListener("pointermove", e => { if (drawing) { pen.lineTo(...at(e)); pen.stroke(); changed(false); } });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { if (drawing) { drawing = false; changed(true); } });
  root.querySelector("[data-clear]").addEventListener("click", () => { clear(); changed(true); });
  clear();
  return {
    canvas, clear, get inked() { return inked; },
    async picture(file) {   // an image from disk instead of a drawing; dark on light becomes light on dark
      const image = await createImageBitmap(file);
      clear();
      const scale = Math.min(canvas.width / image.width, canvas.height / image.height), w = image.width * scale, h = image.height * scale;
      pen.drawImage(image, (canvas.width - w) / 2, (canvas.height - h) / 2, w, h);
      const pixels = pen.getImageData(0, 0, canvas.width, canvas.height), d = pixels.data;
      const x = Math.ceil((canvas.width - w) / 2), y = Math.ceil((canvas.height - h) / 2), corner = 4 * (y * canvas.width + x), invert = d[corner] + d[corner + 1] + d[corner + 2] > 380;
      for (let i = 0; i < d.length; i += 4) {
        const left = i / 4 % canvas.width, top = Math.floor(i / 4 / canvas.width), grey = (d[i] + d[i + 1] + d[i + 2]) / 3;
        const outside = left < x || left >= canvas.width - x || top < y || top >= canvas.height - y;
        d[i] = d[i + 1] = d[i + 2] = outside ? 0 : invert ? 255 - grey : grey;
      }
      pen.putImageData(pixels, 0, 0);
      mark(true);
    },
  };
}

function bounds(canvas) {
  const {width: w, height: h} = canvas, d = canvas.getContext("2d").getImageData(0, 0, w, h).data;
  let top = h, left = w, bottom = -1, right = -1;
  for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) if (d[(y * w + x) * 4] > 40) {
    top = Math.min(top, y); bottom = Math.max(bottom, y); left = Math.min(left, x); right = Math.max(right, x);
  }
  return bottom < 0 ? null : [top, left, bottom + 1, right + 1];
}

// width × height values from 0 to 1: each the average of its part of the drawing. `box` is [top, left, bottom, right] in
// those pixels: what was drawn is moved and scaled into it, as training had it.
export function toGrid(canvas, width, height, box = null) {
  const fine = 8, work = document.createElement("canvas"), ink = box && bounds(canvas);
  work.width = width * fine;
  work.height = height * fine;
  const pen = work.getContext("2d", {willReadFrequently: true});
  pen.fillStyle = PAPER;
  pen.fillRect(0, 0, work.width, work.height);
  pen.imageSmoothingQuality = "high";
  if (ink) {
    const [top, left, bottom, right] = ink, [t, l, b, r] = box.map(v => v * fine);
    const wide = Math.max(r - l, 0.9 * work.width), scale = Math.min((b - t) / (bottom - top), wide / (right - left));
    const w = (right - left) * scale, h = (bottom - top) * scale;
    pen.drawImage(canvas, left, top, right - left, bottom - top, (l + r - w) / 2, (t + b - h) / 2, w, h);
  } else pen.drawImage(canvas, 0, 0, work.width, work.height);
  const d = pen.getImageData(0, 0, work.width, work.height).data, values = new Array(width * height).fill(0);
  for (let y = 0; y < work.height; y++) for (let x = 0; x < work.width; x++)
    values[Math.floor(y / fine) * width + Math.floor(x / fine)] += d[(y * work.width + x) * 4] / 255 / fine / fine;
  return values;
}

// values from 0 to 1 as grey pixels
export function paint(canvas, values, width, height) {
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d"), pixels = pen.createImageData(width, height);
  values.forEach((v, i) => { const g = Math.round(255 * Math.max(0, Math.min(1, v))); pixels.data.set([g, g, g, 255], i * 4); });
  pen.putImageData(pixels, 0, 0);
  return canvas;
}
