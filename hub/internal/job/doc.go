// Package job keeps the rules of jobs: work that operators give to many devices, each of which does it when it can and tells
// how it went. A job has targets, and for each device that they mean one execution at a time, which goes from queued over in
// progress to an end. Devices see what is pending for them, oldest first.
//
// Jobs are kept in records of the tenant and dialect that they belong to, so no platform's jobs are another's:
//
//	job/ID                              what is asked (Spec)
//	job-targets/ID                      names of the dialect's: devices and groups of them
//	job-state/ID                        how far it is (Progress)
//	job-seq                             number of the newest job
//	job-wait/ID/N                       devices that are still to get it, some hundred in one record
//	job-work/MICROSECONDS/ID            index: jobs that have something to be done, by when
//	job-target/TARGET/ID                index: continuous jobs by target
//	job-deleting/ID                     index: jobs that are being deleted
//	job-exec/ID/DEVICE                  the newest execution of a job on a device (Execution)
//	job-past/ID/DEVICE/NUMBER           earlier ones
//	job-device/DEVICE/ID                index: jobs that a device has executions of
//	job-pending/DEVICE/RANK/QUEUED/SEQ/ID  index: what is pending for a device, in its order
//	job-due/MICROSECONDS/ID/DEVICE      index: executions that time out
//
// Everything that changes them goes through a [Session], inside a transaction. What a session has changed is told by
// [Session.Close], for a dialect to make messages of. Long work (queueing a job for a fleet, cancelling, deleting) is done in
// slices: the first at once, the others by [Session.Work] when [NextWork] says so, also after a restart.
//
// The rules are those that platforms have in common; words and codes are the dialects'.
package job
