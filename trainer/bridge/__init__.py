"""The only room that knows both tables and run folders: `freeze` turns rows into files, `results` turns files back into rows.

So nothing ever waits for a run: no transaction is open while files are written. Nobody here asks who owns a run.
"""
