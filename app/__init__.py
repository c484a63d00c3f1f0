"""The web process: pages, the JSON API and the database. It never imports torch.

The collector looks seldom (objects made before a young, a middle and a full collection). Modules, tables and routes are
made once and stay, and requests leave hardly any cycles: looking through them as often as Python does by default took
a twentieth of the start and made a busy server's longest waits longer (bench/RESULTS.md).
"""

import gc

gc.set_threshold(100_000, 50, 100)
