-- The example questions of docs/topics.md, answered by Postgres: one row, one column of JSON. docs/recipes/questions.py
-- gives the same numbers from the topics. Postgres needs no rule: only records that count are written to it, each once.
WITH
-- Who had which role at the time of each message: the last word on his role before it.
words AS (
  SELECT e.room_id, e.seq, p ->> 'userId' AS user_id, p ->> 'role' AS role
    FROM room_events e CROSS JOIN jsonb_array_elements(e.body -> 'participants') p WHERE e.event_type = 'roomOpened'
  UNION ALL
  SELECT e.room_id, e.seq, e.body #>> '{participant,userId}', e.body #>> '{participant,role}'
    FROM room_events e WHERE e.event_type = 'participantAdded'
),
messages AS (
  SELECT m.room_id, r.kind, m.message_index, m.sender_id, (extract(epoch FROM m.sent_at) * 1000)::bigint AS at_ms,
         (SELECT w.role FROM words w WHERE w.room_id = m.room_id AND w.user_id = m.sender_id AND w.seq < m.seq ORDER BY w.seq DESC LIMIT 1) AS role
    FROM chat_messages m JOIN chat_rooms r USING (room_id)
),
per_order AS (
  SELECT r.room_id, count(m.room_id) AS messages FROM chat_rooms r LEFT JOIN messages m USING (room_id) WHERE r.kind = 'order' GROUP BY 1
),
-- From the customer's first message to the vendor's first one behind it.
asked AS (
  SELECT DISTINCT ON (room_id) room_id, message_index, at_ms FROM messages WHERE kind = 'order' AND role = 'customer' ORDER BY room_id, message_index
),
responses AS (
  SELECT DISTINCT ON (a.room_id) m.at_ms - a.at_ms AS ms
    FROM asked a JOIN messages m ON m.room_id = a.room_id AND m.role = 'vendor' AND m.message_index > a.message_index
   ORDER BY a.room_id, m.message_index
),
-- What people have marked as seen. (room_receipts also counts what somebody has seen because he wrote himself.)
marks AS (
  SELECT room_id, body ->> 'userId' AS user_id, max((body ->> 'seen')::bigint) AS seen FROM room_events WHERE event_type = 'receiptMoved' GROUP BY 1, 2
),
by_role AS (
  SELECT coalesce(role, 'none') AS role, count(*) AS messages FROM messages WHERE kind = 'order' GROUP BY 1
)
SELECT jsonb_build_object(
  'rooms', (SELECT count(*) FROM chat_rooms),
  'orders', (SELECT count(*) FROM per_order),
  'ordersWithContact', (SELECT count(*) FROM per_order WHERE messages > 0),
  'orderMessages', (SELECT coalesce(sum(messages), 0) FROM per_order),
  'orderMessagesByRole', (SELECT coalesce(jsonb_object_agg(role, messages), '{}') FROM by_role),
  'mostMessagesOfAnOrder', (SELECT coalesce(max(messages), 0) FROM per_order),
  'messages', (SELECT count(*) FROM messages),
  'messagesRead', (SELECT count(*) FROM messages m WHERE EXISTS (
      SELECT FROM marks k WHERE k.room_id = m.room_id AND k.user_id <> m.sender_id AND k.seen >= m.message_index)),
  'vendorResponses', (SELECT count(*) FROM responses),
  'vendorFirstResponseMedianMs', (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY ms) FROM responses),
  'vendorFirstResponseMaxMs', (SELECT max(ms) FROM responses),
  'users', (SELECT count(*) FROM user_heads),
  'usersWithUnread', (SELECT count(*) FROM user_heads WHERE unread > 0),
  'unread', (SELECT coalesce(sum(unread), 0) FROM user_heads)
) AS answers;
