package kernel

// parentChangedLocked does for the count of a process group's ancestors what a member's new
// parent means, and for the group what it means to become an orphan by that (Linux:
// reparent_leader).
//
// Precondition: callers must hold TaskSet.mu for writing.
func (tg *ThreadGroup) parentChangedLocked(oldParent *Task) {
	pg := tg.processGroup
	if pg == nil {
		return
	}
	var oldPG *ProcessGroup
	if oldParent != nil {
		oldPG = oldParent.tg.processGroup
	}
	before, after := pg.isAncestor(oldPG), pg.isAncestor(tg.parentPG())
	switch {
	case after && !before:
		pg.ancestors++
	case before && !after:
		pg.ancestors--
		pg.handleOrphan()
	}
}

// isAncestor tells whether a parent in parentPG keeps pg from being an orphan. See
// incRefWithParent regarding nil.
func (pg *ProcessGroup) isAncestor(parentPG *ProcessGroup) bool {
	return pg != parentPG && (parentPG == nil || pg.session == parentPG.session)
}
