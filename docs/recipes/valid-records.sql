-- The reader's rule for a warehouse: raw records of a fenced log in, those that count out. It needs no decoding, only the
-- headers. `raw_records` is a table (or view) of your own, one row per record as Kafka has it:
--   topic text, log_partition integer, log_offset bigint, event_type text, owner_epoch text (both from the headers; null: none)
-- It must hold each partition from its start, or from a marker, without a hole.
SELECT topic, log_partition, log_offset
  FROM (
    SELECT *,
           -- The marker in force: the last one at or before the record.
           max(log_offset) FILTER (WHERE event_type = 'ownershipMarker')
             OVER (PARTITION BY topic, log_partition ORDER BY log_offset ROWS UNBOUNDED PRECEDING) AS epoch
      FROM raw_records
  ) judged
 WHERE event_type IS DISTINCT FROM 'ownershipMarker' AND owner_epoch = epoch::text
 ORDER BY topic, log_partition, log_offset;
