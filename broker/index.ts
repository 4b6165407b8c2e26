/** Embed a broker in a process: `startBroker`. */

export type { IssuedToken } from './access/authority.ts'
export type { JwtOptions } from './access/jwt.ts'
export type { GrantTable, Right } from './access/rights.ts'
export type { TokenRequest } from './access/tokens.ts'
export { type Broker, startBroker } from './broker.ts'
export { type Clock, systemClock } from './clock.ts'
export type { ConnectionLimits, LimitOptions, PrefixLimits, TopicLimits } from './limits.ts'
export type { BrokerOptions, PolicyOptions } from './options.ts'
export type { Transport } from './ws/hub.ts'
export type { Socket } from './ws/socket.ts'
