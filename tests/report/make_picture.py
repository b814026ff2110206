"""Makes docs/report.png from the report page that `make quickstart` leaves.

.venv/bin/python tests/report/make_picture.py quickstart/trained/report.html
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PICTURE = ROOT / "docs/report.png"
WIDTH, HEIGHT = 1120, 1490  # of the window, in pixels
# Only a few blocks of some sections are shown, by their numbers, and the first question is open.
# The place of the directory is left out.
PREPARE = """
const shown = {
  "Curves": [0, 4], "F1 and exact match by kind of question": [0, 1], "Questions": [0]
};
for (const heading of document.querySelectorAll("h2")) {
  const blocks = heading.nextElementSibling.children, numbers = shown[heading.innerText] || [];
  [...blocks].forEach((block, number) => { if (!numbers.includes(number)) block.remove(); });
  if (!blocks.length) heading.parentElement.remove();
}
const place = document.querySelector("header p");
place.innerText = place.innerText.replace(/ \\/.*\\/(?=.+\\/)/, " ");
document.querySelector("nav").remove();
document.body.style.overflow = "hidden";
document.querySelector(".items summary").click();
"""


def main() -> None:
    """Open the page, and save the picture."""
    sys.path.insert(0, str(ROOT / "tests"))
    from browser import open_browser

    driver = open_browser()
    try:
        driver.get(Path(sys.argv[1]).resolve().as_uri())
        driver.set_window_size(WIDTH, HEIGHT)
        driver.execute_script(PREPARE)
        driver.save_screenshot(str(PICTURE))
    finally:
        driver.quit()


if __name__ == "__main__":
    main()
