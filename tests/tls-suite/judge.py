"""The verdict on the results of checks. Each deviation must be listed with its reason, and each listed one
must still deviate."""


def judge(suite, results, listed):
    """Prints the results, and returns the number of unexpected ones.

    `results` maps each check to its fault, or to None; `listed` maps each known deviation to its reason.
    """
    if not results:
        raise SystemExit(f"{suite}: there were no checks")
    passed = wrong = 0
    for name, fault in sorted(results.items()):
        reason = listed.get(name)
        if fault is None and reason is None:
            passed += 1
        elif fault is None:
            wrong += 1
            print(f"{suite}: {name}: no longer deviates, but is listed: {reason}")
        elif reason is None:
            wrong += 1
            print(f"{suite}: {name}: deviates: {fault}")
        else:
            print(f"{suite}: {name}: deviates as listed: {reason}")
    for name in sorted(listed.keys() - results.keys()):
        wrong += 1
        print(f"{suite}: {name}: is listed, but was not checked")
    print(f"{suite}: {passed} as they should be, {len(results) - passed} not, {wrong} of them unexpected")
    return wrong
