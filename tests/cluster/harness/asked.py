"""The requests of a job by its name and number, so that who sends and who judges agree without a file between them."""

from chaos.book import Asked

CHAT = "/v1/chat/completions"


def requests(job: str, count: int, *, model: str = "fake") -> list[Asked]:
    """That many requests, each unlike every other, in the job's order."""
    return [
        Asked(
            f"{job}-{number}",
            CHAT,
            {"model": model, "messages": [{"role": "user", "content": f"Say word {number} of {job}."}]},
        )
        for number in range(count)
    ]


def parse(words: list[str]) -> dict[str, list[Asked]]:
    """Jobs from words such as `job-1=5000` or `job-1=5000=model`."""
    jobs = {}
    for word in words:
        name, count, *model = word.split("=")
        jobs[name] = requests(name, int(count), model=model[0] if model else "fake")
    return jobs
