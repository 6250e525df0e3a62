package devpts

// replicaNeverOpened is lineDiscipline.numReplicas until the replica is opened for the first
// time. Until then the master has nothing to read (EAGAIN); afterwards, while no replica is
// open, it is hung up (EIO).
const replicaNeverOpened = -1
