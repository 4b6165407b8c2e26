/** Embed a broker in a process: `startBroker`. */

export { type Broker, type BrokerOptions, type PolicyOptions, startBroker } from './broker.ts'
export { type Clock, systemClock } from './clock.ts'
export type { ConnectionLimits, LimitOptions, PrefixLimits, TopicLimits } from './limits.ts'
export type { Transport } from './ws/hub.ts'
export type { Socket } from './ws/socket.ts'
