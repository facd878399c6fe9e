import { Counter, createRegistry, Gauge, Histogram, latencyBuckets } from '#libs/runtime/metrics.ts'

export type EdgeMetrics = ReturnType<typeof createEdgeMetrics>

export function createEdgeMetrics() {
  const registry = createRegistry('edge')
  const registers = [registry]
  return {
    registry,
    connections: new Gauge({ name: 'websocket_connections', help: 'Open sockets', registers }),
    messagesIn: new Counter({ name: 'websocket_messages_in_total', help: 'Frames from clients', registers }),
    messagesOut: new Counter({ name: 'websocket_messages_out_total', help: 'Frames to clients', registers }),
    handshakes: new Counter({ name: 'websocket_handshakes_total', help: 'Upgrade requests by outcome', labelNames: ['code'], registers }),
    handshakeSeconds: new Histogram({ name: 'websocket_handshake_seconds', help: 'From the request to the upgrade', buckets: latencyBuckets, registers }),
    deliverySeconds: new Histogram({ name: 'websocket_delivery_seconds', help: 'From the event time of room-state to the push', buckets: latencyBuckets, registers }),
    ackSeconds: new Histogram({ name: 'websocket_ack_seconds', help: 'From the request to the ack', buckets: latencyBuckets, registers }),
    closes: new Counter({ name: 'websocket_closes_total', help: 'Sockets that this node closed, by close code name', labelNames: ['code'], registers }),
    pendingCommands: new Gauge({ name: 'websocket_pending_commands', help: 'Commands that wait for their answer', registers }),
    followedPartitions: new Gauge({ name: 'websocket_followed_partitions', help: 'Partitions of the log that this node follows', registers }),
    followedRooms: new Gauge({ name: 'websocket_followed_rooms', help: 'Rooms that this node follows', registers }),
    syncedSockets: new Gauge({ name: 'websocket_synced_sockets', help: 'Sockets that get their user\'s own list of chats', registers }),
    followedInboxPartitions: new Gauge({ name: 'websocket_followed_inbox_partitions', help: 'Partitions of user-events that this node follows', registers }),
    inboxDeliverySeconds: new Histogram({ name: 'websocket_inbox_delivery_seconds', help: 'From the time of the change in the inbox to the push', buckets: latencyBuckets, registers }),
    presenceUsers: new Gauge({ name: 'websocket_presence_users', help: 'Users with a socket on this node', registers }),
    presenceChanges: new Counter({ name: 'websocket_presence_changes_total', help: 'Changes of users that this node has announced', labelNames: ['status'], registers }),
    presenceReaped: new Counter({ name: 'websocket_presence_reaped_total', help: 'Of these, users of nodes that had died', registers }),
    livePublished: new Counter({ name: 'websocket_live_published_total', help: 'Messages to the other nodes about typing and presence', registers }),
    liveErrors: new Counter({ name: 'websocket_live_errors_total', help: 'Failures of Redis that cost somebody typing or presence', registers }),
    liveChannels: new Gauge({ name: 'websocket_live_channels', help: 'Partitions whose typing and presence this node hears', registers }),
    watchedProducts: new Gauge({ name: 'websocket_watched_products', help: 'Products whose cards sockets of this node show', registers }),
    bufferedRecords: new Gauge({ name: 'websocket_buffered_records', help: 'Log records kept for joiners', registers }),
  }
}
