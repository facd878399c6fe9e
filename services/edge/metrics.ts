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
    bufferedRecords: new Gauge({ name: 'websocket_buffered_records', help: 'Log records kept for joiners', registers }),
  }
}
