"""Turns a rule into a search of the list API. The search may match more than the rule, and must not match less.

Facts of the search language are from the vendor's reference (GET /v1/files): beside a `searchQuery` the parameters
`type`, `tags` and `name` are ignored, so `type = "file"` is always part of it; `path : "/a/"` includes what is below;
`createdAt < "30d"` means older than 30 days, with the units h and d that are used here.
"""

from worker.cleanup.rules.rule import Conditions
from worker.text import quoted_for_search

SORT = "ASC_CREATED"
"""Oldest first: files uploaded during a run come last and shift no page."""


def search_for(conditions: Conditions) -> dict[str, str]:
    """Return the parameters of the list call for the files that match, without `limit` and `skip`."""
    parts = []
    if conditions.older_than is not None and (age := _age(conditions.older_than)):
        parts.append(f"createdAt < {quoted_for_search(age)}")
    if conditions.tags:
        parts.append(f"tags IN [{', '.join(quoted_for_search(tag) for tag in conditions.tags)}]")
    if conditions.query:
        parts.append(f"({conditions.query})")
    base = search_base(conditions)
    file_type = {"fileType": conditions.file_type} if conditions.file_type else {}
    return {**base, "searchQuery": " AND ".join([base["searchQuery"], *parts]), **file_type}


def search_base(conditions: Conditions) -> dict[str, str]:
    """Return the parameters for all files to which `max_share` refers: the rule's folder, or the library."""
    query = 'type = "file"'
    if conditions.path:
        query += f" AND path {':' if conditions.recursive else '='} {quoted_for_search(conditions.path)}"
    return {"searchQuery": query, "sort": SORT}


def _age(seconds: int) -> str | None:
    """Write an age in whole days or hours, rounded down: the search may match more, since each object is checked."""
    if seconds % 86_400 == 0 and seconds:
        return f"{seconds // 86_400}d"
    return f"{seconds // 3600}h" if seconds >= 3600 else None
