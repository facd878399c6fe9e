-- Up Migration

-- The last word of each about each other, as relay has met it in their direct rooms, also of blocks that were lifted. Only
-- relay writes here, and its own positions to persisted_offsets (topic 'relay:room-events').
CREATE TABLE relay_blocks (
  blocker_id     text    NOT NULL,
  blocked_id     text    NOT NULL,
  is_on          boolean NOT NULL,
  -- The later word wins, in any order of arrival; of two at the same time the block.
  occurred_at_ms bigint  NOT NULL,
  PRIMARY KEY (blocker_id, blocked_id)
);
CREATE INDEX relay_blocks_blocked ON relay_blocks (blocked_id);

-- Down Migration
-- There is none: history is never dropped by a migration.
