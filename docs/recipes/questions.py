"""Example questions, answered from the topics alone. docs/recipes/questions.sql gives the same numbers from Postgres.

    python docs/recipes/questions.py --brokers localhost:9092 --registry http://localhost:8081 [--prefix name.]
"""

import argparse
import json
from collections import defaultdict

from fenced_log import Registry, entries, read_topic


def fold_rooms(brokers: str, registry: Registry, prefix: str) -> dict:
    """Rooms whose opening the topic still holds. Of older ones only the end is left after its retention: Postgres has them."""
    rooms: dict = {}
    for record in read_topic(brokers, registry, "room-events", prefix):
        for room_id, kind, event in entries(record):
            if kind == "RoomOpened":
                roles = {p["userId"]: p["role"] for p in event["participants"]}
                rooms[room_id] = {"kind": event.get("kind") or "order", "roles": roles, "messages": [], "reads": []}
            elif room_id not in rooms:
                continue
            elif kind == "ParticipantAdded":
                rooms[room_id]["roles"][event["participant"]["userId"]] = event["participant"]["role"]
            elif kind == "MessageSent":
                role = rooms[room_id]["roles"].get(event["senderId"])
                rooms[room_id]["messages"].append((event["messageIndex"], event["senderId"], role, event["timestampMs"]))
            elif kind == "ReceiptMoved":
                rooms[room_id]["reads"].append((event["userId"], event["seen"], event["timestampMs"]))
    return rooms


def first_response_ms(messages: list):
    """From the customer's first message to the vendor's first one behind it."""
    asked = next((at for _, _, role, at in messages if role == "customer"), None)
    index = next((i for i, _, role, _ in messages if role == "customer"), None)
    answered = next((at for i, _, role, at in messages if role == "vendor" and asked is not None and i > index), None)
    return None if answered is None else answered - asked


def read_by_others(room: dict) -> int:
    """Messages that somebody else has marked as seen."""
    seen = defaultdict(int)
    for user_id, up_to, _ in room["reads"]:
        seen[user_id] = max(seen[user_id], up_to)
    return sum(any(user != sender and up_to >= index for user, up_to in seen.items()) for index, sender, _, _ in room["messages"])


def median(values: list):
    """The lower one of two in the middle, so that the answer is always one that was measured."""
    return sorted(values)[(len(values) - 1) // 2] if values else None


def about_rooms(rooms: dict) -> dict:
    orders = [room for room in rooms.values() if room["kind"] == "order"]
    responses = [ms for ms in (first_response_ms(room["messages"]) for room in orders) if ms is not None]
    by_role: dict = defaultdict(int)
    for room in orders:
        for _, _, role, _ in room["messages"]:
            by_role[role or "none"] += 1
    return {
        "rooms": len(rooms),
        "orders": len(orders),
        "ordersWithContact": sum(bool(room["messages"]) for room in orders),
        "orderMessages": sum(len(room["messages"]) for room in orders),
        "orderMessagesByRole": dict(sorted(by_role.items())),
        "mostMessagesOfAnOrder": max((len(room["messages"]) for room in orders), default=0),
        "messages": sum(len(room["messages"]) for room in rooms.values()),
        "messagesRead": sum(read_by_others(room) for room in rooms.values()),
        "vendorResponses": len(responses),
        "vendorFirstResponseMedianMs": median(responses),
        "vendorFirstResponseMaxMs": max(responses, default=None),
    }


def about_users(brokers: str, registry: Registry, prefix: str) -> dict:
    """The totals that a ChatChanged carries are absolute: the last one of a user stands."""
    totals: dict = {}
    for record in read_topic(brokers, registry, "user-events", prefix):
        for user_id, kind, event in entries(record):
            if kind == "ChatChanged":
                totals[user_id] = event["totals"]
    return {
        "users": len(totals),
        "usersWithUnread": sum(one["unread"] > 0 for one in totals.values()),
        "unread": sum(one["unread"] for one in totals.values()),
    }


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--brokers", required=True)
    arguments.add_argument("--registry", required=True)
    arguments.add_argument("--prefix", default="")
    options = arguments.parse_args()
    registry = Registry(options.registry)
    answers = about_rooms(fold_rooms(options.brokers, registry, options.prefix))
    answers.update(about_users(options.brokers, registry, options.prefix))
    print(json.dumps(answers, indent=2))


if __name__ == "__main__":
    main()
