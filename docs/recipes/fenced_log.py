"""Reads the topics of order-chat from Python, each record that counts once.

    pip install confluent-kafka fastavro

`read_topic` reads any topic from its start to the end that it has now. For the two fenced logs (room-events, user-events)
it follows the reader's rule: a marker's offset is the current epoch of its partition; a record whose `owner-epoch` is not
the current one is void, as if it had never been written. docs/topics.md says why.
"""

import io
import json
import struct
import urllib.request
from dataclasses import dataclass, field
from typing import Any, Iterator, Optional

from confluent_kafka import Consumer, TopicPartition
from fastavro import parse_schema, schemaless_reader

FENCED_LOGS = ("room-events", "user-events")
MARKER = "ownershipMarker"
NO_EPOCH = -1


@dataclass
class ReaderRule:
    """The reader's rule for one partition. Show it every record, in offset order."""

    # Who starts in mid-log passes the epoch that he stored with his position. Who has none begins with the first marker.
    epoch: int = NO_EPOCH
    last_source: dict = field(default_factory=dict)

    def judge(self, offset: int, headers: dict) -> str:
        if headers.get("event-type") == MARKER:
            self.epoch = offset
            return "marker"
        # Before the first marker nothing counts; 0 is a real epoch.
        if self.epoch == NO_EPOCH or headers.get("owner-epoch") != str(self.epoch):
            return "void"
        if "source" in headers:
            topic, _, position = headers["source"].rpartition(":")
            if int(position) <= self.last_source.get(topic, -1):
                raise ValueError(f"log_corrupt: offset {offset} applies {headers['source']} again")
            self.last_source[topic] = int(position)
        return "valid"


class Registry:
    """Decodes the Confluent wire format: a zero byte, the schema's id (32 bit, big-endian), Avro binary."""

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        self.schemas: dict = {}

    def decode(self, value: bytes) -> Any:
        magic, schema_id = struct.unpack(">bI", value[:5])
        if magic != 0:
            raise ValueError("undecodable: not in the Confluent wire format")
        if schema_id not in self.schemas:
            with urllib.request.urlopen(f"{self.url}/schemas/ids/{schema_id}", timeout=30) as answer:
                self.schemas[schema_id] = parse_schema(json.loads(json.load(answer)["schema"]))
        # As (name, fields) pairs: only so it is known which record of a union this is.
        return schemaless_reader(io.BytesIO(value[5:]), self.schemas[schema_id], None, return_record_name=True)


@dataclass
class Record:
    topic: str
    partition: int
    offset: int
    key: Optional[str]
    headers: dict
    verdict: str  # valid | marker | void
    value: Any  # decoded, where it is valid; None for a tombstone


def read_topic(brokers: str, registry: Registry, topic: str, prefix: str = "", only_valid: bool = True) -> Iterator[Record]:
    """Every record from the start of each partition to its end as of now, partition by partition, in order."""
    # Assigned by hand: no group is joined, nothing is committed. What no reader should see (records of transactions
    # that failed) stays out of sight.
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "reads-without-a-group",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    name = prefix + topic
    try:
        partitions = consumer.list_topics(name, timeout=30).topics[name].partitions
        for partition in sorted(partitions):
            low, high = consumer.get_watermark_offsets(TopicPartition(name, partition), timeout=30)
            if low == high:
                continue
            consumer.assign([TopicPartition(name, partition, low)])
            rule = ReaderRule()
            for message in _messages(consumer, high):
                headers = {name: value.decode() for name, value in message.headers() or [] if value is not None}
                verdict = rule.judge(message.offset(), headers) if topic in FENCED_LOGS else "valid"
                if only_valid and verdict != "valid":
                    continue
                raw = message.value()
                value = registry.decode(raw) if verdict == "valid" and raw is not None else None
                key = message.key().decode() if message.key() is not None else None
                yield Record(topic, partition, message.offset(), key, headers, verdict, value)
            consumer.unassign()
    finally:
        consumer.close()


def _messages(consumer: Consumer, high: int):
    while True:
        message = consumer.poll(30)
        if message is None:
            raise TimeoutError("Kafka gave nothing for 30 s")
        if message.error():
            # The end of the partition: behind the last record there may be control records that nobody is shown.
            if message.error().name() == "_PARTITION_EOF":
                return
            raise RuntimeError(message.error().str())
        if message.offset() >= high:
            return
        yield message
        if message.offset() + 1 >= high:
            return


def branch(union: Any) -> tuple:
    """(record type without namespace, fields) of a union of records."""
    name, fields = union
    return name.rpartition(".")[2], fields


def entries(record: Record) -> Iterator[tuple]:
    """(roomId or userId, type, fields) of each entry of a record of a fenced log."""
    _, decision = branch(record.value["body"])
    for entry in decision["entries"]:
        kind, fields = branch(entry)
        yield decision.get("roomId") or decision.get("userId"), kind, fields
