"""How often each record type is in each topic, and how many records of the fenced logs are void.

    python docs/recipes/record_types.py --brokers localhost:9092 --registry http://localhost:8081 [--prefix name.] topic …
"""

import argparse
import json
from collections import Counter

from fenced_log import FENCED_LOGS, Record, Registry, branch, entries, read_topic


def types_of(record: Record):
    if record.verdict != "valid":
        yield f"({record.verdict})"
    elif record.value is None:
        yield "(tombstone)"
    elif record.topic in FENCED_LOGS:
        for _, kind, _ in entries(record):
            yield kind
    elif record.topic == "presence-events":
        yield {"online": "UserOnline", "offline": "UserOffline"}.get(record.value["status"], record.value["status"])
    else:
        # An envelope with one union field, or a plain record.
        unions = [field for name, field in record.value.items() if name in ("body", "change")]
        yield branch(unions[0])[0] if unions else record.topic


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--brokers", required=True)
    arguments.add_argument("--registry", required=True)
    arguments.add_argument("--prefix", default="")
    arguments.add_argument("topics", nargs="+")
    options = arguments.parse_args()
    registry = Registry(options.registry)
    counts = {}
    for topic in options.topics:
        records = read_topic(options.brokers, registry, topic, options.prefix, only_valid=False)
        counts[topic] = dict(sorted(Counter(kind for record in records for kind in types_of(record)).items()))
    print(json.dumps(counts, indent=2))


if __name__ == "__main__":
    main()
