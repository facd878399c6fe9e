import { runMain } from '#libs/runtime/run-main.ts'
import { roomStateConfigFromEnv } from './config.ts'
import { startRoomState } from './service.ts'

await runMain(() => startRoomState(roomStateConfigFromEnv(process.env)))
