/** One planted bug: `from` occurs exactly once in `file`, and `to` takes its place while the module is loaded. */
export type Mutation = {
  readonly name: string
  readonly file: string
  readonly from: string
  readonly to: string
}

const fencedTask = 'libs/streams/fenced-task.ts'
const processor = 'services/room-state/core/room-processor.ts'
const tables = 'services/message-persister/partition-tables.ts'
const rooms = 'services/edge/core/rooms.ts'
const frames = 'services/edge/core/frames.ts'
const command = 'libs/domain/decide-command.ts'
const followedLog = 'services/edge/core/followed-log.ts'
const shapes = 'libs/streams/avro-shapes.ts'
const inbox = 'libs/domain/decide-inbox.ts'
const feed = 'services/inbox/core/feed-processor.ts'
const fanOut = 'services/inbox/core/fan-out.ts'
const fanOutTask = 'services/inbox/core/fan-out-task.ts'
const sync = 'services/edge/core/inbox-sync.ts'

/** The mistakes that are easy to make here. The simulator has to find each. */
export const mutations: readonly Mutation[] = [
  // The owner of a partition
  { name: 'owner epoch ignored by readers', file: 'libs/streams/reader-rule.ts', from: 'if (this.#epoch === NO_EPOCH || epoch !== this.#epoch.toString()) return', to: 'if (this.#epoch === NO_EPOCH) return' },
  { name: 'base offset not checked', file: fencedTask, from: 'if (base !== this.#last + 1n) throw', to: 'if (base < this.#last + 1n) throw' },
  {
    name: 'fence late',
    file: fencedTask,
    from: `    this.#writer = await snapshots.openWriter()
    this.#appender = await log.openAppender()
    // marked: the marker's offset is our epoch.
    this.#epoch = await this.#appender.append([this.#processor.marker(ownerId, newNonce())])
`,
    to: `    this.#appender = await log.openAppender()
    this.#epoch = await this.#appender.append([this.#processor.marker(ownerId, newNonce())])
    this.#writer = await snapshots.openWriter()
`,
  },
  {
    name: 'sentinel before marker',
    file: fencedTask,
    from: `    this.#appender = await log.openAppender()
    // marked: the marker's offset is our epoch.
    this.#epoch = await this.#appender.append([this.#processor.marker(ownerId, newNonce())])
    this.#last = this.#epoch
    this.#markedMs = clock.nowMs()
    // ready: only after the marker is acknowledged. No snapshot of an earlier owner can come behind this.
    const sentinelOffset = await this.#commit([this.#processor.sentinel(newNonce())])
`,
    to: `    this.#appender = await log.openAppender()
    const sentinelOffset = await this.#commit([this.#processor.sentinel(newNonce())])
    this.#epoch = await this.#appender.append([this.#processor.marker(ownerId, newNonce())])
    this.#last = this.#epoch
    this.#markedMs = clock.nowMs()
`,
  },
  { name: 'input position one behind', file: fencedTask, from: 'this.#acknowledged.set(source.topic, source.offset + 1n)', to: 'this.#acknowledged.set(source.topic, source.offset)' },
  { name: 'input position one ahead', file: fencedTask, from: 'this.#acknowledged.set(topic, done.at(-1)!.offset + 1n)', to: 'this.#acknowledged.set(topic, done.at(-1)!.offset + 2n)' },
  { name: 'snapshot of unacknowledged state', file: fencedTask, from: 'const base = await this.#appender!.append(records)', to: 'this.#snapshotIfDue(); const base = await this.#appender!.append(records)' },
  { name: 'snapshot after a failed one', file: fencedTask, from: 'if (this.#failure !== undefined || this.#snapshotInFlight || ', to: 'if (this.#snapshotInFlight || ' },
  { name: 'remark without its new epoch', file: fencedTask, from: 'this.#epoch = await this.#append([', to: 'await this.#append([' },
  { name: 'checkpoint without the open positions', file: fencedTask, from: 'for (const [topic, next] of checkpoint?.inputs ?? []) this.#acknowledged.set(topic, next)', to: '' },
  { name: 'append retried after an unknown outcome', file: fencedTask, from: 'const base = await this.#appender!.append(records)', to: 'const base = await this.#appender!.append(records).catch(async () => (await this.#options.log.openAppender()).append(records))' },
  { name: 'dedupe forgotten on restore', file: processor, from: 'dedupe: { firstBucket: first, buckets } }, first', to: 'dedupe: { firstBucket: first + bucketCount, buckets: [] } }, first' },
  { name: 'rooms changed by the replay are not dirty', file: processor, from: 'if (decision) this.#apply(decision.roomId, decision.entries)', to: 'if (decision) { this.#apply(decision.roomId, decision.entries); this.#dirty.delete(decision.roomId) }' },
  { name: 'rooms clean although their records were left out', file: processor, from: 'for (const roomId of this.#dirty) this.#snapshotRoom(roomId, records)', to: 'for (const roomId of [...this.#dirty].slice(0, 1)) this.#snapshotRoom(roomId, records)' },
  { name: 'undecodable inputs are skipped', file: 'libs/streams/prepare-each.ts', from: 'prepared.push(undecodable(record, err))', to: '' },
  // The rules of a room
  { name: 'a closed room takes messages', file: command, from: "if (state.status === 'closed') return refused('room_read_only')", to: '' },
  { name: 'expired ids are taken for new ones', file: command, from: 'if (idTimeMs < timeMs - DEDUPE_WINDOW_MS || idTimeMs', to: 'if (idTimeMs' },
  { name: 'only messages are remembered', file: command, from: 'const ack = rememberedAck(state.dedupe, senderId, clientMessageId)', to: "const ack = command.type === 'sendMessage' ? rememberedAck(state.dedupe, senderId, clientMessageId) : undefined" },
  { name: "others' messages can be edited", file: command, from: "if (sent.senderId !== by) return refused('not_allowed')", to: '' },
  { name: 'a deleted message can be edited', file: command, from: "if (change?.deleted) return command.type === 'deleteMessage' ? unchanged(state) : refused('message_deleted')", to: '' },
  { name: 'cursors go down', file: command, from: 'Math.max(before.seen, command.seen ?? 0)', to: 'command.seen ?? before.seen' },
  { name: 'who is blocked can write', file: command, from: "state.kind === 'direct' && state.blocks.size > 0", to: 'false' },
  { name: 'receipts left out of snapshots', file: shapes, from: 'receipts: list([...room.receipts].map(([userId, receipt]) => ({ userId, ...receipt }))),', to: 'receipts: list([]),' },
  { name: 'revisions left out of snapshots', file: shapes, from: 'changes: list([...room.changes].map(([messageId, change]) => ({ messageId, ...change }))),', to: 'changes: list([]),' },
  { name: 'blocks left out of snapshots', file: shapes, from: 'blocks: list([...room.blocks]),', to: 'blocks: list([]),' },
  { name: 'a frozen room takes messages', file: command, from: "if (state.frozen && !isAllowedInFrozen(command)) return refused('room_frozen')", to: '' },
  { name: 'an expelled owner has no heir', file: 'libs/domain/decide-membership.ts', from: "state.kind === 'group' && role === 'owner' && ownersOf(state).length === 1 ? heirOf(state, userId) : undefined", to: "'by' in removed && removed.by === userId && role === 'owner' && ownersOf(state).length === 1 ? heirOf(state, userId) : undefined" },
  { name: 'who is in a stub is refused as a stranger', file: 'libs/domain/decide-parts.ts', from: 'participants.size === 0 || ', to: '' },
  { name: 'floods are let through', file: command, from: "if (waitMs !== undefined) return [{ type: 'refused', code: 'duplicate_flood', retryAfterMs: waitMs }]", to: '' },
  { name: 'the chain forgets what one decision says', file: 'libs/domain/chain.ts', from: 'before ? remembered(roomId, before) : entry.seq === 1', to: 'entry.seq === 1' },
  { name: 'the head of the chain left out of snapshots', file: shapes, from: "headHash: optional('string', headHash)", to: "headHash: optional('string', undefined)" },
  { name: 'stubs forget the head of the chain', file: 'libs/domain/evolve.ts', from: 'messageCount, lastEventMs, headHash, dedupe: {', to: 'messageCount, lastEventMs, dedupe: {' },
  // Postgres
  { name: 'compare-and-set left out', file: tables, from: ' AND next_offset = $6 AND owner_epoch = $7', to: '' },
  { name: 'compare-and-set not heeded', file: tables, from: 'if (!(await movePosition(tx, topic, partition, before, after))) return false', to: 'await movePosition(tx, topic, partition, before, after)' },
  { name: 'position committed before its rows', file: tables, from: 'await write(tx, partition, rows)', to: 'void write(pool, partition, rows).catch(() => {})' },
  { name: 'persister starts without the epoch', file: 'libs/streams/read-by-rule.ts', from: 'new ReaderRule(before.ownerEpoch, before.lastSources)', to: 'new ReaderRule(undefined, before.lastSources)' },
  { name: 'persister believes a write that failed', file: 'services/message-persister/core/persister-task.ts', from: 'if (!(await store.apply(partition, position, after, rows))) {', to: 'if (!(await store.apply(partition, position, after, rows).catch(() => true))) {' },
  // The edge
  { name: "prune of the edge's buffer too early", file: followedLog, from: 'this.buffer.prune(nextOffset < this.#position ? nextOffset : this.#position)', to: 'this.buffer.prune(this.#position)' },
  { name: 'buffer floor ignored in joins', file: rooms, from: 'if (partition.buffer.floor <= nextOffset) {', to: 'if (partition.buffer.floor >= 0n) {' },
  { name: 'buffer floor does not rise with what is dropped', file: 'services/edge/core/partition-buffer.ts', from: 'if (record.offset + 1n > this.#floor) this.#floor = record.offset + 1n', to: '' },
  { name: 'partition let go while somebody is let in', file: 'services/edge/core/following.ts', from: 'partition.admissions > 0 || ', to: '' },
  { name: 'what was opened late is not held', file: fencedTask, from: 'if (this.#held) inputs.hold(true)', to: '' },
  { name: 'edge starts without the epoch', file: followedLog, from: 'new ReaderRule(start.ownerEpoch)', to: 'new ReaderRule()' },
  { name: 'since off by one', file: rooms, from: 'new Subscription(connection, roomId, since)', to: 'new Subscription(connection, roomId, since + 1)' },
  { name: 'removed participant stays subscribed', file: rooms, from: "if (event.type === 'participantRemoved') this.#expel(room, event)", to: '' },
  { name: 'replay beyond the view', file: 'services/edge/core/replay.ts', from: 'subscription.lastSeq, room.view.headSeq, limits.replayPageEvents', to: 'subscription.lastSeq, Number.MAX_SAFE_INTEGER, limits.replayPageEvents' },
  { name: 'refusal before the log was read', file: rooms, from: 'await partition.reach(high, this.#options.limits.joinWaitMs)', to: '' },
  { name: 'a hole is skipped', file: 'services/edge/core/subscription.ts', from: 'seq !== this.lastSeq + 1) return false', to: 'seq <= this.lastSeq) return false' },
  { name: 'newcomers see what was before', file: rooms, from: 'const since = Math.max(asked, visibleFrom(room.view, speaker) - 1)', to: 'const since = asked' },
  { name: 'another role hides what was seen', file: 'services/edge/core/room-view.ts', from: 'view.participants.get(userId)?.sinceSeq ?? event.seq', to: 'event.seq' },
  { name: 'hidden receipts are shown', file: frames, from: "event.hidden && !seesAll && event.userId !== userId ? 'private' : 'plain'", to: "'plain'" },
  { name: 'blocks are shown', file: frames, from: "seesAll || event.blockerId === userId ? 'plain' : 'private'", to: "'plain'" },
  { name: 'what was deleted is replayed from the buffer', file: 'services/edge/core/masks.ts', from: 'if (event.deleted || change?.deleted) {', to: 'if (event.deleted) {' },
  { name: 'what was redacted is replayed from the buffer', file: 'services/edge/core/masks.ts', from: "else if (event.type === 'messageDeleted' || event.type === 'messageRedacted') {", to: "else if (event.type === 'messageDeleted') {" },
  { name: 'what was redacted is kept as if it were not', file: 'services/message-persister/core/rows.ts', from: "if (event.type !== 'messageEdited') {", to: "if (event.type === 'messageDeleted') {" },
  { name: 'reports are shown to all', file: frames, from: "return seesAll || event.by === userId ? 'plain' : 'private'", to: "return 'plain'" },
  { name: 'what was edited is replayed as it was', file: 'services/edge/core/masks.ts', from: 'if (change && change.revision > (event.revision ?? 0)) return', to: 'if (change && change.revision < 0) return' },
  { name: 'slow sockets are not closed', file: rooms, from: "if (connection.socket.bufferedBytes() > this.#options.limits.slowBufferBytes) connection.close('slow_consumer')", to: '' },
  { name: 'replies of the log are not taken', file: 'services/edge/core/followed-partition.ts', from: 'if (isReply) this.#deps.events.onReply(decision)', to: '' },
  // Users' own lists
  { name: 'the list takes what it has taken', file: inbox, from: "if (before && roomSeq <= before.roomSeq) return ignored('applied before')", to: '' },
  { name: 'who leaves a room still counts it', file: inbox, from: "chat?.status === 'in' ? { unread: unreadOf(chat)", to: 'chat ? { unread: unreadOf(chat)' },
  { name: 'chats that were let go of still count', file: inbox, from: 'for (const roomId of evicted) after = moved(after, roomId === chat.roomId ? chat : chats.get(roomId), undefined)', to: '' },
  { name: 'messages gathered lose their mentions', file: inbox, from: '[...earlier.change.mentions, ...later.change.mentions]', to: '[...later.change.mentions]' },
  { name: 'own messages gathered with those of others', file: inbox, from: '|| (earlier.change.seen === undefined) !== (later.change.seen === undefined)) return undefined', to: ') return undefined' },
  { name: 'what comes back stays archived', file: inbox, from: 'archived: chat.archived && !isCalledBack', to: 'archived: chat.archived' },
  { name: 'own messages are unread', file: fanOut, from: '...(userId === senderId && { seen: messageIndex }),', to: '' },
  { name: 'hidden messages are the last ones', file: fanOut, from: '...(!isHidden && { last }),', to: 'last,' },
  { name: 'a removal is told to nobody', file: fanOut, from: "return to(event.participant.userId, { type: 'left', reason: event.reason })", to: 'return' },
  { name: 'an end is not told to who is invited', file: fanOut, from: 'new Set([...people, ...invited])', to: 'people' },
  { name: 'restored people are told nothing', file: fanOut, from: 'people: new Set([...participants.keys(), ...(this.#gone.get(roomId) ?? [])])', to: 'people: new Set(this.#gone.get(roomId) ?? [])' },
  { name: 'who went since is told nothing of before', file: fanOut, from: '...participants.keys(), ...(this.#gone.get(roomId) ?? [])', to: '...participants.keys()' },
  { name: 'what came since the snapshot is not folded', file: fanOutTask, from: 'from.nextOffset, (decision) => fanOut.fold(decision), readLog)', to: 'from.nextOffset, () => {}, readLog)' },
  { name: 'told only after it counts as told', file: fanOutTask, from: 'for (const updates of portions(fanOut)) await this.#options.send(updates)', to: 'this.#told = fanOut.deferredSince ?? after\n    for (const updates of portions(fanOut)) await this.#options.send(updates)' },
  { name: 'deferred heads do not hold the position', file: fanOutTask, from: 'this.#told = fanOut.deferredSince ?? after', to: 'this.#told = after' },
  { name: 'deferred heads are overtaken', file: fanOut, from: 'this.#tellHead(portion, roomId, [userId])', to: '' },
  { name: 'saved positions go back', file: 'libs/postgres/position-store.ts', from: '\n          WHERE o.next_offset < excluded.next_offset', to: '' },
  { name: 'the snapshot of a list leaves chats out', file: feed, from: 'for (const roomId of roomIds) {', to: 'for (const roomId of [...roomIds].slice(1)) {' },
  { name: 'chats that were let go of are restored', file: feed, from: 'for (const roomId of evicted) dirty.add(roomId)', to: '' },
  { name: 'lists changed by the replay are not dirty', file: feed, from: 'if (decision) this.#apply(decision.userId, decision.entries)', to: 'if (decision) { this.#apply(decision.userId, decision.entries); this.#dirty.delete(decision.userId) }' },
  { name: 'lists are not kept where nothing of the batch is first', file: 'services/message-persister/core/user-rows.ts', from: 'chats.set(`${userId} ${chat.roomId}`, { userId, userSeq, chat })', to: 'if (!chats.has(`${userId} ${chat.roomId}`)) chats.set(`${userId} ${chat.roomId}`, { userId, userSeq, chat })' },
  { name: 'chats that were let go of stay in Postgres', file: 'services/message-persister/user-store.ts', from: 'if (rows.evictions.length > 0) await evict(tx, rows)', to: '' },
  { name: 'sync misses what is between Postgres and the buffer', file: sync, from: 'if (partition.buffer.floor > page.nextOffset) return false', to: '' },
  { name: 'sync ends with what Postgres has', file: sync, from: 'const last = new Map<RoomId, { userSeq: number; chat: Chat }>()', to: 'const last = { set: () => {}, delete: () => {}, values: (): { userSeq: number; chat: Chat }[] => [] }' },
  { name: 'totals of Postgres for a cursor that is ahead of it', file: sync, from: "entry.type === 'chatChanged' && entry.userSeq > pageSeq) totals", to: "entry.type === 'chatChanged' && entry.userSeq > lastSeq) totals" },
  // The client
  { name: 'client asks for its list from one too far', file: 'libs/client/inbox.ts', from: "{ type: 'sync', cursor: this.cursor }", to: "{ type: 'sync', cursor: this.cursor + 1 }" },
  { name: 'client forgets its outbox', file: 'libs/client/sender.ts', from: 'for (const entry of left) this.#outbox = enqueued(this.#outbox, entry, true)', to: '' },
  { name: 'client forgets its cursor', file: 'libs/client/room.ts', from: 'newCursor(options.since)', to: 'newCursor(0)' },
  { name: 'client waits for an answer of a socket that is gone', file: 'libs/client/sender.ts', from: 'this.#outbox = interrupted(this.#outbox)', to: '' },
  { name: 'client asks from one too far', file: 'libs/client/room.ts', from: "{ type: 'join', roomId: this.roomId, since: this.lastSeq }", to: "{ type: 'join', roomId: this.roomId, since: this.lastSeq + 1 }" },
  // The bridge
  { name: 'SQS message deleted before it is written', file: 'services/sqs-bridge/bridge.ts', from: 'await this.#write(work)', to: 'void this.#write(work).catch(() => {})' },
  { name: 'SQS message deleted although the write failed', file: 'services/sqs-bridge/bridge.ts', from: "if (!hasCode(err, 'unavailable')) {", to: "if (hasCode(err, 'unavailable')) return settle.remove(message)\n        if (!hasCode(err, 'unavailable')) {" },
]
