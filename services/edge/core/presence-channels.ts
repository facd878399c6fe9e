import type { LiveBus } from './presence-ports.ts'

export type ChannelsOptions = {
  readonly bus: Pick<LiveBus, 'subscribe' | 'unsubscribe'>
  readonly nowMs: () => number
  /** How long a channel is kept that nobody needs any more. */
  readonly lingerMs: number
  readonly onTrouble: (err: unknown) => void
}

type Channel = {
  /** Joined rooms of the partition, one for each socket. */
  joined: number
  idleSinceMs: number
  state: 'closed' | 'opening' | 'open'
}

/** Which partitions' live channels this node listens to: those in which one of its sockets has joined a room. */
export class LiveChannels {
  readonly #options: ChannelsOptions
  readonly #channels = new Map<number, Channel>()

  constructor(options: ChannelsOptions) {
    this.#options = options
  }

  get open(): number {
    let open = 0
    for (const { state } of this.#channels.values()) if (state === 'open') open++
    return open
  }

  isOpen(partition: number): boolean {
    return this.#channels.get(partition)?.state === 'open'
  }

  joined(partition: number): void {
    let channel = this.#channels.get(partition)
    if (!channel) {
      channel = { joined: 0, idleSinceMs: 0, state: 'closed' }
      this.#channels.set(partition, channel)
    }
    channel.joined++
    if (channel.state === 'closed') this.#subscribe(partition, channel)
  }

  left(partition: number): void {
    const channel = this.#channels.get(partition)
    if (!channel || channel.joined === 0) return
    if (--channel.joined === 0) channel.idleSinceMs = this.#options.nowMs()
  }

  /** The connection that they came by is gone, and its subscriptions with it. */
  lost(): void {
    for (const channel of this.#channels.values()) channel.state = 'closed'
  }

  /** Tries again what has failed, and lets go of what is idle. */
  tick(): void {
    const before = this.#options.nowMs() - this.#options.lingerMs
    for (const [partition, channel] of this.#channels) {
      if (channel.joined === 0 && channel.idleSinceMs <= before && channel.state !== 'opening') {
        this.#channels.delete(partition)
        if (channel.state === 'open') this.#options.bus.unsubscribe(partition).catch(this.#options.onTrouble)
      } else if (channel.state === 'closed') this.#subscribe(partition, channel)
    }
  }

  #subscribe(partition: number, channel: Channel): void {
    channel.state = 'opening'
    this.#options.bus.subscribe(partition).then(
      () => {
        // Lost meanwhile: then it is tried again.
        if (channel.state === 'opening') channel.state = 'open'
      },
      (err: unknown) => {
        channel.state = 'closed'
        this.#options.onTrouble(err)
      },
    )
  }
}
