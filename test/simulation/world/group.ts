import { ChatError } from '#libs/domain/errors.ts'
import { assignCoPartitioned } from '#libs/streams/co-partition.ts'
import type { Process } from './process.ts'
import type { World } from './world.ts'

export const SESSION_TIMEOUT_MS = 6_000
const HEARTBEAT_MS = 500

type Member = {
  readonly id: string
  readonly process: Process
  readonly owned: () => readonly number[]
  readonly onAssigned: (partitions: readonly number[]) => void
  readonly onOut: readonly (() => void)[]
  /** Has said that it joins the generation that is being made, and with what. */
  joined: readonly number[] | undefined
  generation: number
}

/** A consumer group's coordinator with eager rebalances, the assignment being ours. */
export class Group {
  readonly #world: World
  readonly #name: string
  readonly #partitions: number
  #members: Member[] = []
  #generation = 0
  #rebalancing = false

  constructor(world: World, name: string, partitions: number) {
    this.#world = world
    this.#name = name
    this.#partitions = partitions
  }

  join(process: Process, { owned, onAssigned }: Pick<Member, 'owned' | 'onAssigned'>): { leave(): void; confirm(): Promise<void> } {
    const options = { owned, onAssigned, onOut: [] as (() => void)[] }
    let left = false
    let member = this.#enter(process, options)
    const expire = () => this.#expireAfterSession(member)
    process.onEnd(expire)
    process.onPause(expire)
    options.onOut.push(() => {
      // Its next heartbeat tells it; where it is paused, when it wakes up.
      process.hear(this.#world.random.next() * HEARTBEAT_MS, `is out of ${this.#name}`, () => {
        if (!left) member = this.#enter(process, options)
      })
    })
    const isConfirmed = () => {
      if (!this.#members.includes(member) || this.#rebalancing) throw new ChatError('ownership_lost', 'the group has not confirmed this member')
    }
    return {
      leave: () => {
        left = true
        this.#remove(member)
      },
      // The heartbeats go on behind a pause of their own, so an answer takes up to one more.
      confirm: () => process.call(`heartbeat to ${this.#name}`, isConfirmed, { latencyMs: this.#world.random.next() * HEARTBEAT_MS }),
    }
  }

  #enter(process: Process, options: Pick<Member, 'owned' | 'onAssigned' | 'onOut'>): Member {
    const member: Member = { ...options, id: process.name, process, joined: undefined, generation: -1 }
    this.#members.push(member)
    this.#rebalance()
    return member
  }

  #remove(member: Member): void {
    if (!this.#members.includes(member)) return
    this.#members = this.#members.filter((m) => m !== member)
    for (const listener of member.onOut) listener()
    this.#rebalance()
  }

  #expireAfterSession(member: Member): void {
    this.#world.serve(SESSION_TIMEOUT_MS, `session of ${member.id} in ${this.#name}`, () => {
      if (!member.process.alive || member.process.isPaused) this.#remove(member)
    })
  }

  /** Everybody joins again, who does not in time is out, and each is told what it has now. */
  #rebalance(): void {
    this.#generation++
    this.#rebalancing = true
    const generation = this.#generation
    for (const member of this.#members) {
      member.joined = undefined
      member.process.hear(this.#world.random.next() * HEARTBEAT_MS, `joins ${this.#name} again`, () => {
        if (generation !== this.#generation) return
        member.joined = member.owned()
        if (this.#members.every((m) => m.joined)) this.#assign(generation)
      })
    }
    this.#world.serve(SESSION_TIMEOUT_MS, `rebalance of ${this.#name} waits no longer`, () => {
      if (generation !== this.#generation || !this.#rebalancing) return
      const late = this.#members.filter((member) => !member.joined)
      this.#members = this.#members.filter((member) => member.joined)
      for (const listener of late.flatMap(({ onOut }) => onOut)) listener()
      this.#assign(generation)
    })
  }

  #assign(generation: number): void {
    this.#rebalancing = false
    const assignment = assignCoPartitioned(this.#members.map(({ id, joined }) => ({ memberId: id, owned: joined ?? [] })), this.#partitions)
    for (const member of this.#members) {
      const partitions = assignment.get(member.id) ?? []
      member.process.hear(member.process.latencyMs(), `${this.#name} assigns [${partitions}]`, () => {
        if (generation < member.generation) return
        member.generation = generation
        member.onAssigned(partitions)
      })
    }
  }
}
