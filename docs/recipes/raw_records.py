"""Copies the headers of a fenced log, as CSV: what docs/recipes/valid-records.sql wants of a warehouse's raw table.

    python docs/recipes/raw_records.py --brokers localhost:9092 --registry http://localhost:8081 [--prefix name.] room-events

The last column is what the reader's rule says here, to compare.
"""

import argparse
import csv
import sys

from fenced_log import Registry, read_topic


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--brokers", required=True)
    arguments.add_argument("--registry", required=True)
    arguments.add_argument("--prefix", default="")
    arguments.add_argument("topics", nargs="+")
    options = arguments.parse_args()
    out = csv.writer(sys.stdout)
    out.writerow(["topic", "log_partition", "log_offset", "event_type", "owner_epoch", "verdict"])
    for topic in options.topics:
        for record in read_topic(options.brokers, Registry(options.registry), topic, options.prefix, only_valid=False):
            event_type, owner_epoch = record.headers.get("event-type"), record.headers.get("owner-epoch")
            out.writerow([topic, record.partition, record.offset, event_type, owner_epoch, record.verdict])


if __name__ == "__main__":
    main()
