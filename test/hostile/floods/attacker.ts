// One attacker as a process of its own, so that what it costs to attack is not measured as what it costs to serve.
import { setPriority } from 'node:os'
import { type AttackName, attacks, type Counts, type Target } from './attacks.ts'

// On one machine it would take the edge's own core, which a real one cannot.
setPriority(19)
const stopped = new AbortController()
process.on('message', ({ attack, target }: { attack: AttackName; target: Target } | { attack?: undefined; target?: undefined }) => {
  if (attack === undefined) {
    stopped.abort()
    return
  }
  const counts: Counts = {}
  attacks[attack](target, counts, stopped.signal).then(
    () => process.send?.(counts, () => process.exit()),
    (err: unknown) => {
      console.error(err)
      process.exit(1)
    },
  )
})
