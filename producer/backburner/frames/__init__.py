"""Rows in, rows out: requests of a DataFrame and a prompt template, and answers joined to it. Made for notebooks.

    from backburner import Client
    from backburner.frames import answer_rows

    client = Client.from_env_file()
    labelled = await answer_rows(client, reviews, "Is this review positive or negative? {review}", max_tokens=4)

It takes DataFrames of pandas, polars and pyarrow, and lists of dicts. Install it as `backburner[pandas]` or `[polars]`.
"""

from backburner.frames.answer_columns import to_frame
from backburner.frames.answer_rows import answer_rows
from backburner.frames.progress_line import ProgressLine
from backburner.frames.row_requests import RowRequests, to_requests

__all__ = ["ProgressLine", "RowRequests", "answer_rows", "to_frame", "to_requests"]
