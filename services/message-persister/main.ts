import { runMain } from '#libs/runtime/run-main.ts'
import { persisterConfigFromEnv } from './config.ts'
import { startPersister } from './service.ts'

await runMain(() => startPersister(persisterConfigFromEnv(process.env)))
