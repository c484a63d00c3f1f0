"""The background process: claiming runs, freezing rows into files, having each run started, results back into rows.

The only room that knows both tables and run folders. No transaction is open while files are written or read.
"""
