"""The web process: pages, the JSON API and the database. It never imports torch.

The collector looks seldom: after so many new objects, so many young and so many middle collections. Modules, tables and
routes are made once and stay, and requests leave hardly any cycles. Looking through them as often as Python does by default
made a busy server's longest waits much longer (bench/RESULTS.md, the queue).
"""

import gc

gc.set_threshold(100_000, 50, 100)
