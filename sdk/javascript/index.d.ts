// The types of the SDK. Times are in the format of RFC 3339; null means none.

export type Status =
  | "offline" | "available" | "away" | "busy" | "do_not_disturb" | "in_calendar_event"
  | "in_meeting" | "presenting" | "on_call" | "out_of_office";

/** A status that can be claimed. */
export type ClaimedStatus = Exclude<Status, "offline">;

export interface Presence {
  user: string;
  status: Status;
  note: string;
  since: string | null;
  until: string | null;
  revision: number;
  /** Of a read, or of the write that returned this. */
  cursor?: string;
  /** The e-mail address or "me" by which the user was named. */
  asked_as?: string;
}

export interface Presences {
  cursor: string;
  presences: Presence[];
  unknown: string[];
}

/** A user of a list, with the presence. */
export interface UserPresence extends Presence {
  display_name: string;
  email: string;
  groups: string[];
}

export interface Claim {
  id: string;
  source: string;
  status: Status;
  note: string;
  since: string;
  until: string | null;
  app: string;
}

export interface ClaimResult {
  claim: Claim | null;
  /** The claim's effect, in words. */
  why: string;
  presence: Presence;
}

export interface User {
  id: string;
  email: string;
  first_name: string;
  last_name: string;
  display_name: string;
  department: string;
  groups: string[];
  active: boolean;
  role: "member" | "admin";
  external_id: string;
  created: string;
}

export interface Me {
  account: string;
  app: string;
  app_name: string;
  user: string;
  display_name: string;
  email: string;
  account_level: boolean;
  token: string;
  scopes: string[];
  expires: string | null;
}

export type ZoomStatus =
  | "Available" | "Away" | "Busy" | "Do_Not_Disturb" | "In_A_Calendar_Event" | "In_A_Meeting"
  | "In_A_Call" | "Presenting" | "Out_of_Office";

export interface ZoomPresence {
  status: ZoomStatus | "Offline";
  /** Only of one's own do-not-disturb. */
  end_time?: string;
  /** In seconds. */
  remaining_time?: number;
}

/** The document of a problem (RFC 9457), or the body of an error of Zoom's API or of OAuth. */
export interface ProblemDocument {
  type?: string;
  title?: string;
  status?: number;
  detail?: string;
  instance?: string;
  what_to_do?: string;
  field?: string;
  limit?: number;
  limit_name?: string;
  scopes?: string[];
  [member: string]: unknown;
}

/** An answer other than success. */
export class Problem extends Error {
  constructor(status: number, document: ProblemDocument, retryAfter?: number);
  readonly status: number;
  /** Such as "user-not-found"; "1001" for an error of Zoom's API. */
  readonly code: string;
  readonly document: ProblemDocument;
  /** In ms, from the server; 0 if it gave none. */
  readonly retryAfter: number;
  /** The same request may succeed later. */
  get temporary(): boolean;
}

/** There was no complete response. The request may have taken effect. */
export class NoResponse extends Error {
  /** Whether the same request may succeed later. It does not if the certificate is refused. */
  readonly temporary: boolean;
}

export interface Signal {
  signal?: AbortSignal;
}

export interface Fresh extends Signal {
  /** The read sees everything up to this cursor, of a write or of anything that was read. */
  atLeast?: string;
  /** The read sees every write that was answered before it began. */
  strong?: boolean;
}

export type Query = Record<string, string | number | boolean | null | undefined>;

export interface RequestOptions extends Signal {
  query?: Query;
  /** Sent as JSON, unless it is text, a Blob or a form. */
  body?: unknown;
  headers?: Record<string, string>;
  /** In ms, for the whole answer; 0 for none. */
  timeout?: number;
  /** Of request: is called with the headers of the answer. */
  onHeaders?(headers: Headers): void;
}

/** The client of the server's pages: requests by method and path. */
export class Client {
  constructor(options?: { url?: string; token?: string });
  url: string;
  token: string;
  fetch(method: string, path: string, options?: RequestOptions): Promise<Response>;
  request<T = any>(method: string, path: string, options?: RequestOptions): Promise<T>;
  get<T = any>(path: string, query?: Query): Promise<T>;
  post<T = any>(path: string, body?: unknown): Promise<T>;
  put<T = any>(path: string, body?: unknown): Promise<T>;
  patch<T = any>(path: string, body?: unknown): Promise<T>;
  delete<T = any>(path: string, query?: Query): Promise<T>;
  pages<T = any>(path: string, query?: Query): AsyncGenerator<T, void, undefined>;
  /** A WebSocket, which needs a global WebSocket: browsers, and Node from version 22. */
  stream(on: StreamHandlers, query?: Record<string, string>): Stream;
}

export interface StreamHandlers {
  state(state: "connecting" | "reconnecting" | "connected"): void;
  frame(frame: { type: string; [member: string]: any }): void;
  open(): void;
  lost(): void;
  ended(code: "unauthorized" | "refused", words: string): void;
}

export class Stream {
  constructor(client: Client, on: StreamHandlers, followed?: Record<string, string>);
  start(): void;
  stop(): void;
  hurry(): void;
  send(frame: { type: string; [member: string]: any }): boolean;
}

/** Returns an access token; with an argument, another one than that, which was refused. */
export type TokenSource = (refused?: string) => string | Promise<string>;

export function clientCredentials(app: { url: string; accountId: string; clientId: string; clientSecret: string }): (refused?: string) => Promise<string>;

export interface PorchlightOptions {
  /** Such as "https://presence.example.com"; "" for that of the page. */
  url?: string;
  /** Without a token, a page of the server uses the person's sign-in. */
  token?: string | TokenSource;
  /** For how long a call is repeated, in ms; 30,000 by default, 0 for never. */
  retryFor?: number;
}

export interface StatusOptions extends Signal {
  note?: string;
  since?: string | Date;
  until?: string | Date;
  /** From now on, instead of until. */
  seconds?: number;
}

export interface ClaimOptions extends StatusOptions {
  source: string;
  status: ClaimedStatus;
}

/** Calls one server. A user is an id, an e-mail address or "me". */
export class Porchlight extends Client {
  constructor(options?: PorchlightOptions);
  presence(user: string, options?: Fresh): Promise<Presence>;
  query(users: string[], options?: Fresh): Promise<Presences>;
  list(options?: Fresh & { status?: Status[]; group?: string }): AsyncGenerator<UserPresence, void, undefined>;
  setStatus(user: string, status: ClaimedStatus, options?: StatusOptions): Promise<Presence>;
  /** Returns the cursor of the write, as do endClaim and clearNote. */
  clearStatus(user: string, options?: Signal): Promise<string>;
  claims(user: string, options?: Signal): AsyncGenerator<Claim, void, undefined>;
  setClaim(user: string, id: string, claim: ClaimOptions): Promise<ClaimResult>;
  endClaim(user: string, id: string, options?: Signal): Promise<string>;
  setNote(user: string, text: string, options?: Signal & { until?: string | Date }): Promise<Presence>;
  clearNote(user: string, options?: Signal): Promise<string>;
  me(options?: Signal): Promise<Me>;
  user(user: string, options?: Signal): Promise<User>;
  zoomStatus(user: string, options?: Signal): Promise<ZoomPresence>;
  setZoomStatus(user: string, status: ZoomStatus, options?: Signal & { minutes?: number }): Promise<void>;
  watch(options?: WatchOptions): Watch;
}

export interface WatchOptions extends Signal {
  users?: string[];
  contacts?: boolean;
  everyone?: boolean;
  group?: string;
  /** Of an earlier watch of the same users. */
  cursor?: string;
  /** Bounds the wait between two attempts, in ms; 30,000 by default. */
  longestWait?: number;
}

/** It replaces all that is known. unknown are the users who do not exist. */
export interface Snapshot {
  type: "snapshot";
  presences: Presence[];
  unknown: string[];
}

/** A user changed, or was added. */
export interface PresenceEvent extends Presence {
  type: "presence";
  /** Versions in between were not sent. */
  coalesced?: boolean;
}

/** A user is no longer followed. */
export interface Gone {
  type: "gone";
  user: string;
  /** "" if it happened while there was no connection. */
  reason: string;
}

export type WatchEvent = Snapshot | PresenceEvent | Gone;

/** Reconnects and resumes by itself. It can be iterated once. */
export class Watch implements AsyncIterable<WatchEvent> {
  constructor(client: Client, options?: WatchOptions);
  /** Where another watch of the same users can resume. */
  readonly cursor: string;
  [Symbol.asyncIterator](): AsyncGenerator<WatchEvent, void, undefined>;
}
