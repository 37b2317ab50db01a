; The Windows installer: for one user, without elevation, x64.
;
; Compiled by `dev.py build`, which defines (makensis -D):
;   FROZEN    folder of the frozen build        OUTPUT   the installer's path
;   VERSION   three numbers                     SIZE_KB  size of FROZEN
;   PICTURES  folder with kotaro-bridge.ico and sidebar.bmp
;   COMMENT   "" or what marks a test build     SIGN     defined where KOTARO_SIGN holds a signing command
;   PLAIN     defined for tests: nothing is compressed, which takes minutes
;
; How files change hands, so that a kill, a full disk or a locked file never leaves a half-new program that looks whole:
; everything is unpacked beside the old files (NEW), the running program is asked to quit, then whole folders are
; renamed: old away (OLD…), new in. What cannot be renamed is renamed back, and nothing has changed. The next install
; or uninstall clears what a killed one left.
;
; Exit codes: 0 done, 1 cancelled, 2 files could not be written, 3 the program runs and could not be closed or a file
; is in use, 4 an older version over a newer one without /DOWNGRADE, 5 Windows too old, 6 settings could not be deleted,
; 7 another setup runs, 8 the uninstaller was copied to a folder that is not ours.
; Options: /S silent, /AUTOSTART=1 or 0, /DOWNGRADE, /D=FOLDER (last, without quotes); uninstall.exe: /S, /FORGET.

Unicode true
Target amd64-unicode
ManifestSupportedOS Win10
ManifestDPIAware true
ManifestLongPathAware true
RequestExecutionLevel user
!ifdef PLAIN
  SetCompress off
!else
  SetCompressor /SOLID lzma
  SetCompressorDictSize 64
!endif

!include MUI2.nsh
!include LogicLib.nsh
!include FileFunc.nsh
!include WordFunc.nsh
!include WinVer.nsh
!include nsDialogs.nsh
!include Win\COM.nsh
!include Win\Propkey.nsh

!define PRODUCT "Kotaro Bridge"
!define PUBLISHER "Kotaro Bridge authors"
!define APP_ID "KotaroBridge.KotaroBridge" ; the same as in kotaro_bridge/ui/first_icon.py
!define RUN_VALUE "KotaroBridge"           ; the same as in kotaro_bridge/host/autostart.py
!define RUN_KEY "Software\Microsoft\Windows\CurrentVersion\Run"
!define APPROVED_KEY "Software\Microsoft\Windows\CurrentVersion\Explorer\StartupApproved\Run"
!define UNINSTALL_KEY "Software\Microsoft\Windows\CurrentVersion\Uninstall\KotaroBridge"
!define APP_ID_KEY "Software\Classes\AppUserModelId\${APP_ID}"
!define SHORTCUT "$SMPROGRAMS\${PRODUCT}.lnk"
!define OLDEST_BUILD 17763 ; Windows 10 1809: the oldest that Qt 6.11 supports (doc.qt.io/qt-6.11/windows.html)
!define NEW ".kotaro-bridge-new" ; names that nobody else has: what is called so is deleted, wherever a person installs
!define OLD ".kotaro-bridge-old"
!define QUIT_S 90          ; an engine gets 10 s for TERM, then KILL, then its memory is looked at

Name "${PRODUCT}"
OutFile "${OUTPUT}"
InstallDir ""
BrandingText "${PRODUCT} ${VERSION}"
ShowInstDetails nevershow
ShowUninstDetails nevershow
AllowSkipFiles off

VIProductVersion "${VERSION}.0"
VIFileVersion "${VERSION}.0"
VIAddVersionKey "ProductName" "${PRODUCT}"
VIAddVersionKey "ProductVersion" "${VERSION}"
VIAddVersionKey "FileDescription" "${PRODUCT} setup"
VIAddVersionKey "FileVersion" "${VERSION}"
VIAddVersionKey "CompanyName" "${PUBLISHER}"
VIAddVersionKey "LegalCopyright" "Copyright (c) 2026 ${PUBLISHER}. MIT licence."
!if "${COMMENT}" != ""
  VIAddVersionKey "Comments" "${COMMENT}"
!endif

!ifdef SIGN
  !uninstfinalize '$%KOTARO_SIGN% "%1"' = 0
  !finalize '$%KOTARO_SIGN% "%1"' = 0
!endif

!define MUI_ICON "${PICTURES}/kotaro-bridge.ico"
!define MUI_UNICON "${PICTURES}/kotaro-bridge.ico"
!define MUI_WELCOMEFINISHPAGE_BITMAP "${PICTURES}/sidebar.bmp"
!define MUI_WELCOMEFINISHPAGE_BITMAP_STRETCH AspectFitHeight
!define MUI_ABORTWARNING

!define MUI_WELCOMEPAGE_TITLE "$(WelcomeTitle)"
!define MUI_WELCOMEPAGE_TEXT "$(WelcomeText)"
!insertmacro MUI_PAGE_WELCOME
!insertmacro MUI_PAGE_DIRECTORY
Page custom OptionsPage OptionsLeave
!insertmacro MUI_PAGE_INSTFILES
!define MUI_FINISHPAGE_TITLE "$(FinishTitle)"
!define MUI_FINISHPAGE_TEXT "$(FinishText)"
!define MUI_FINISHPAGE_RUN
!define MUI_FINISHPAGE_RUN_TEXT "$(FinishRun)"
!define MUI_FINISHPAGE_RUN_FUNCTION OpenDashboard
!insertmacro MUI_PAGE_FINISH

UninstPage custom un.OptionsPage un.OptionsLeave
!insertmacro MUI_UNPAGE_INSTFILES

!insertmacro MUI_LANGUAGE "English" ; the first is taken where Windows speaks neither
!insertmacro MUI_LANGUAGE "Japanese"
!include strings.nsh
SetFont /LANG=${LANG_ENGLISH} "Segoe UI" 9
SetFont /LANG=${LANG_JAPANESE} "Yu Gothic UI" 9

Var Before        ; folder of the version that is installed, "" where none is
Var BeforeVersion ; and its version
Var Autostart     ; 1, 0, or "" to leave it as it is
Var WasRunning    ; 1 where the program ran when the installer came
Var Aside         ; folder that takes the old files
Var Failed        ; 1 where a file could not be renamed
Var Forget        ; 1 where the settings go as well
Var Choice        ; a check box
Var Locked        ; what IsLocked found

; --- what both programs, installer and uninstaller, do ---------------------------------------------------------------

!macro ForEachPart DO FROM TO
  !insertmacro ${DO} "KotaroBridge.exe" "${FROM}" "${TO}"
  !insertmacro ${DO} "kotaro-bridge.exe" "${FROM}" "${TO}"
  !insertmacro ${DO} "_internal" "${FROM}" "${TO}"
  !insertmacro ${DO} "licenses" "${FROM}" "${TO}"
!macroend

!macro MovePart PART FROM TO
  ${If} $Failed != 1
  ${AndIf} ${FileExists} "${FROM}\${PART}"
    ClearErrors
    Rename "${FROM}\${PART}" "${TO}\${PART}"
    ${If} ${Errors}
      StrCpy $Failed 1
    ${EndIf}
  ${EndIf}
!macroend

!macro MovePartBack PART FROM TO
  ${If} ${FileExists} "${FROM}\${PART}"
    Rename "${FROM}\${PART}" "${TO}\${PART}"
  ${EndIf}
!macroend

!macro DropPart PART FROM TO
  Delete "${FROM}\${PART}"
  RMDir /r "${FROM}\${PART}"
!macroend

!macro OnlyOne
  ; Two setups at once would rename each other's files. The mutex goes with the process.
  System::Call 'kernel32::CreateMutexW(p 0, i 0, w "KotaroBridgeSetup") p .r0 ?e'
  Pop $0
  ${If} $0 = 183 ; ERROR_ALREADY_EXISTS
    MessageBox MB_OK|MB_ICONEXCLAMATION "$(OtherSetup)" /SD IDOK
    SetErrorLevel 7
    Quit
  ${EndIf}
!macroend

!macro SharedFunctions UN
; Sets $Locked to 1 where the program file on the stack runs: Windows lets nobody write to it then.
Function ${UN}IsLocked
  Exch $0
  StrCpy $Locked 0
  ${If} ${FileExists} "$0"
    ClearErrors
    FileOpen $1 "$0" a
    ${If} ${Errors}
      StrCpy $Locked 1
    ${Else}
      FileClose $1
    ${EndIf}
  ${EndIf}
  Pop $0
FunctionEnd

; Sets $Locked to 1 where one of the two programs in $Before runs.
Function ${UN}IsRunning
  Push "$Before\KotaroBridge.exe"
  Call ${UN}IsLocked
  ${If} $Locked <> 1
    Push "$Before\kotaro-bridge.exe"
    Call ${UN}IsLocked
  ${EndIf}
FunctionEnd

; Has the program in $Before quit: models stopped in order, engine and memory looked at. It asks nobody where nothing
; of this folder runs. Ends the setup with code 3 if that cannot be had; nothing has changed then.
Function ${UN}QuitProgram
  StrCpy $WasRunning 0
  Push "$Before\KotaroBridge.exe"
  Call ${UN}IsLocked
  StrCpy $WasRunning $Locked
  ${Do}
    Call ${UN}IsRunning
    ${If} $Locked <> 1
      ${Break}
    ${EndIf}
    DetailPrint "$(Quitting)"
    nsExec::Exec /TIMEOUT=120000 '"$Before\kotaro-bridge.exe" quit --wait ${QUIT_S}'
    Pop $0
    ${For} $2 1 40 ; a process is gone a moment after its lock, a virus scanner lets go a moment after that
      Call ${UN}IsRunning
      ${If} $Locked <> 1
        ${Break}
      ${EndIf}
      Sleep 250
    ${Next}
    ${If} $Locked = 1
      MessageBox MB_RETRYCANCEL|MB_ICONEXCLAMATION "$(StillRunning)" /SD IDCANCEL IDRETRY again
      Call ${UN}ClearUnpacked
      SetErrorLevel 3
      Quit
      again:
    ${EndIf}
  ${Loop}
FunctionEnd

; Takes the old files in $Before aside, all or none.
Function ${UN}TakeAside
  System::Call 'kernel32::GetTickCount() i .r0'
  StrCpy $Aside "$Before\${OLD}$0"
  CreateDirectory "$Aside"
  StrCpy $Failed 0
  !insertmacro ForEachPart MovePart "$Before" "$Aside"
  ${If} $Failed = 1
    !insertmacro ForEachPart MovePartBack "$Aside" "$Before"
    RMDir "$Aside"
    Call ${UN}ClearUnpacked
    MessageBox MB_OK|MB_ICONEXCLAMATION "$(InUse)" /SD IDOK
    SetErrorLevel 3
    Quit
  ${EndIf}
FunctionEnd

; Removes what was unpacked or taken aside in $INSTDIR and $Before, by this setup or by one that was killed.
Function ${UN}ClearUnpacked
  SetOutPath "$TEMP"
  StrCpy $3 "$INSTDIR"
  ${For} $4 1 2
    RMDir /r "$3\${NEW}"
    FindFirst $0 $1 "$3\${OLD}*"
    ${DoWhile} $1 != ""
      RMDir /r "$3\$1"
      FindNext $0 $1
    ${Loop}
    FindClose $0
    RMDir "$3" ; goes only where nothing else is in it
    StrCpy $3 "$Before"
    ${If} $3 == ""
      ${Break}
    ${EndIf}
  ${Next}
FunctionEnd
!macroend

!insertmacro SharedFunctions ""
!insertmacro SharedFunctions "un."

; --- installing ------------------------------------------------------------------------------------------------------

Function .onInit
  SetShellVarContext current
  ${IfNot} ${AtLeastBuild} ${OLDEST_BUILD}
    MessageBox MB_OK|MB_ICONSTOP "$(TooOld)" /SD IDOK
    SetErrorLevel 5
    Quit
  ${EndIf}
  !insertmacro OnlyOne
  ReadRegStr $Before HKCU "${UNINSTALL_KEY}" "InstallLocation"
  ReadRegStr $BeforeVersion HKCU "${UNINSTALL_KEY}" "DisplayVersion"
  Call RefuseOlder
  ${If} $INSTDIR == ""
    StrCpy $INSTDIR "$Before"
  ${EndIf}
  ${If} $INSTDIR == ""
    StrCpy $INSTDIR "$LOCALAPPDATA\Programs\${PRODUCT}"
  ${EndIf}
  Call OwnFolder
  ${GetParameters} $0
  ClearErrors
  ${GetOptions} $0 "/AUTOSTART=" $Autostart
  ${If} ${Errors}
    StrCpy $Autostart ""
  ${EndIf}
FunctionEnd

; An older version over a newer one: asked about, and refused where nobody can answer.
Function RefuseOlder
  ${If} $BeforeVersion == ""
    Return
  ${EndIf}
  ${VersionCompare} "${VERSION}" "$BeforeVersion" $0
  ${If} $0 <> 2
    Return
  ${EndIf}
  ${GetParameters} $0
  ClearErrors
  ${GetOptions} $0 "/DOWNGRADE" $1
  ${IfNot} ${Errors}
    Return
  ${EndIf}
  MessageBox MB_YESNO|MB_ICONQUESTION|MB_DEFBUTTON2 "$(Older)" /SD IDNO IDYES agreed
    SetErrorLevel 4
    Quit
  agreed:
FunctionEnd

; A folder with other files in it gets a folder of our own: the uninstaller removes ours by name.
Function OwnFolder
  ${If} ${FileExists} "$INSTDIR\*.*"
  ${AndIf} $INSTDIR != $Before
  ${AndIfNot} ${FileExists} "$INSTDIR\KotaroBridge.exe" ; an uninstall.exe is in the folder of any program
  ${AndIfNot} ${FileExists} "$INSTDIR\${NEW}"
  ${AndIfNot} ${FileExists} "$INSTDIR\${OLD}*"
    ${DirState} "$INSTDIR" $0
    ${If} $0 = 1
      StrCpy $INSTDIR "$INSTDIR\${PRODUCT}"
    ${EndIf}
  ${EndIf}
FunctionEnd

Function OptionsPage
  !insertmacro MUI_HEADER_TEXT "$(OptionsTitle)" "$(OptionsSubtitle)"
  nsDialogs::Create 1018
  Pop $0
  ${NSD_CreateCheckbox} 0 0 100% 12u "$(StartAtLogin)"
  Pop $Choice
  ${If} $Autostart == ""
    ReadRegStr $0 HKCU "${RUN_KEY}" "${RUN_VALUE}"
    ${If} $0 != ""
      ${NSD_Check} $Choice
    ${EndIf}
  ${ElseIf} $Autostart = 1
    ${NSD_Check} $Choice
  ${EndIf}
  ${NSD_CreateLabel} 12u 15u -12u 26u "$(StartAtLoginWhat)"
  Pop $0
  ${NSD_CreateLabel} 0 56u 100% 60u "$(WhatItTouches)"
  Pop $0
  nsDialogs::Show
FunctionEnd

Function OptionsLeave
  Call OwnFolder
  ${NSD_GetState} $Choice $Autostart
FunctionEnd

Section
  ${If} $Before == ""
    StrCpy $Before "$INSTDIR"
  ${EndIf}
  Call ClearUnpacked
  SetOutPath "$INSTDIR\${NEW}"
  File /r "${FROZEN}/*.*" ; out of room: Windows asks, or a silent setup ends with 2; .onInstFailed clears up
  Call QuitProgram
  Call TakeAside
  SetOutPath "$INSTDIR"
  ${If} $Before != $INSTDIR
    !insertmacro ForEachPart DropPart "$INSTDIR" "" ; left by a setup that was killed while it moved the program here
  ${EndIf}
  StrCpy $Failed 0
  !insertmacro ForEachPart MovePart "$INSTDIR\${NEW}" "$INSTDIR"
  ${If} $Failed = 1
    !insertmacro ForEachPart MovePartBack "$INSTDIR" "$INSTDIR\${NEW}"
    !insertmacro ForEachPart MovePartBack "$Aside" "$Before"
    Call ClearUnpacked
    MessageBox MB_OK|MB_ICONEXCLAMATION "$(InUse)" /SD IDOK
    SetErrorLevel 3
    Quit
  ${EndIf}
  WriteUninstaller "$INSTDIR\uninstall.exe"
  ${If} $Before != $INSTDIR
    Delete "$Before\uninstall.exe"
  ${EndIf}
  Call Register
  Call ClearUnpacked
  ${If} $WasRunning = 1
    SetOutPath "$PROFILE"
    Exec '"$INSTDIR\KotaroBridge.exe"'
  ${EndIf}
SectionEnd

Function Register
  WriteRegStr HKCU "${UNINSTALL_KEY}" "DisplayName" "${PRODUCT}"
  WriteRegStr HKCU "${UNINSTALL_KEY}" "DisplayVersion" "${VERSION}"
  WriteRegStr HKCU "${UNINSTALL_KEY}" "DisplayIcon" "$INSTDIR\KotaroBridge.exe,0"
  WriteRegStr HKCU "${UNINSTALL_KEY}" "Publisher" "${PUBLISHER}"
  WriteRegStr HKCU "${UNINSTALL_KEY}" "InstallLocation" "$INSTDIR"
  ${GetTime} "" "L" $0 $1 $2 $3 $4 $5 $6
  WriteRegStr HKCU "${UNINSTALL_KEY}" "InstallDate" "$2$1$0"
  WriteRegStr HKCU "${UNINSTALL_KEY}" "UninstallString" '"$INSTDIR\uninstall.exe"'
  WriteRegStr HKCU "${UNINSTALL_KEY}" "QuietUninstallString" '"$INSTDIR\uninstall.exe" /S'
  WriteRegDWORD HKCU "${UNINSTALL_KEY}" "EstimatedSize" ${SIZE_KB}
  WriteRegDWORD HKCU "${UNINSTALL_KEY}" "NoModify" 1
  WriteRegDWORD HKCU "${UNINSTALL_KEY}" "NoRepair" 1
  ; Without these a notification carries no name and no icon.
  WriteRegStr HKCU "${APP_ID_KEY}" "DisplayName" "${PRODUCT}"
  WriteRegStr HKCU "${APP_ID_KEY}" "IconUri" "$INSTDIR\_internal\kotaro_bridge\resources\icons\kotaro-bridge.png"
  Call MakeShortcut
  ReadRegStr $0 HKCU "${RUN_KEY}" "${RUN_VALUE}"
  ${If} $Autostart == 1
    ${If} $0 == ""
      DeleteRegValue HKCU "${APPROVED_KEY}" "${RUN_VALUE}" ; an old "no" of the Task Manager
    ${EndIf}
    WriteRegStr HKCU "${RUN_KEY}" "${RUN_VALUE}" '"$INSTDIR\KotaroBridge.exe"'
  ${ElseIf} $Autostart == 0
    DeleteRegValue HKCU "${RUN_KEY}" "${RUN_VALUE}"
    DeleteRegValue HKCU "${APPROVED_KEY}" "${RUN_VALUE}"
  ${ElseIf} $0 != ""
    WriteRegStr HKCU "${RUN_KEY}" "${RUN_VALUE}" '"$INSTDIR\KotaroBridge.exe"' ; it may have moved
  ${EndIf}
FunctionEnd

; The entry in the Start menu, under the application id that the windows use: Windows then counts them as one program.
Function MakeShortcut
  !insertmacro ComHlpr_CreateInProcInstance ${CLSID_ShellLink} ${IID_IShellLink} r0 ""
  ${If} $0 P= 0
    SetOutPath "$PROFILE"
    CreateShortcut "${SHORTCUT}" "$INSTDIR\KotaroBridge.exe" "--open"
    SetOutPath "$INSTDIR"
    Return
  ${EndIf}
  StrCpy $5 "$INSTDIR\KotaroBridge.exe"
  StrCpy $6 "$(ShortcutWhat)"
  StrCpy $7 "${SHORTCUT}"
  StrCpy $8 "$PROFILE"
  ${IShellLink::SetPath} $0 '(r5).r1'
  ${IShellLink::SetArguments} $0 '("--open").r1'
  ${IShellLink::SetWorkingDirectory} $0 '(r8).r1'
  ${IShellLink::SetDescription} $0 '(r6).r1'
  ${IUnknown::QueryInterface} $0 '("${IID_IPropertyStore}",.r1)'
  ${If} $1 P<> 0
    System::Call '*${SYSSTRUCT_PROPERTYKEY}(${PKEY_AppUserModel_ID})p.r2'
    System::Call '*(&w64 "${APP_ID}")p.r4'
    System::Call '*${SYSSTRUCT_PROPVARIANT}(${VT_LPWSTR},,r4)p.r3'
    ${IPropertyStore::SetValue} $1 '($2,$3)'
    System::Free $2
    System::Free $3
    System::Free $4
    ${IPropertyStore::Commit} $1 ""
    ${IUnknown::Release} $1 ""
  ${EndIf}
  ${IUnknown::QueryInterface} $0 '("${IID_IPersistFile}",.r1)'
  ${If} $1 P<> 0
    ${IPersistFile::Save} $1 '(r7,1)'
    ${IUnknown::Release} $1 ""
  ${EndIf}
  ${IUnknown::Release} $0 ""
FunctionEnd

Function OpenDashboard
  SetOutPath "$PROFILE" ; a program holds the folder that it was started in
  Exec '"$INSTDIR\KotaroBridge.exe" --open'
FunctionEnd

Function .onInstFailed
  Call ClearUnpacked
FunctionEnd

; --- removing --------------------------------------------------------------------------------------------------------

Function un.onInit
  SetShellVarContext current
  !insertmacro OnlyOne
  StrCpy $Before "$INSTDIR"
  Call un.RefuseOthers
  ${GetParameters} $0
  ClearErrors
  ${GetOptions} $0 "/FORGET" $1
  ${IfNot} ${Errors}
    StrCpy $Forget 1
  ${EndIf}
FunctionEnd

; A copy of the uninstaller on somebody's desktop: folders there that are called as ours are not ours.
Function un.RefuseOthers
  ReadRegStr $0 HKCU "${UNINSTALL_KEY}" "InstallLocation"
  ${If} $0 != $INSTDIR
  ${AndIfNot} ${FileExists} "$INSTDIR\KotaroBridge.exe"
  ${AndIfNot} ${FileExists} "$INSTDIR\${OLD}*"
    SetErrorLevel 8
    Quit
  ${EndIf}
FunctionEnd

Function un.OptionsPage
  !insertmacro MUI_HEADER_TEXT "$(RemoveTitle)" "$(RemoveSubtitle)"
  nsDialogs::Create 1018
  Pop $0
  ${NSD_CreateLabel} 0 0 100% 26u "$(RemoveFrom)"
  Pop $0
  ${NSD_CreateCheckbox} 0 32u 100% 12u "$(ForgetMe)"
  Pop $Choice
  ${If} $Forget = 1
    ${NSD_Check} $Choice
  ${EndIf}
  ${NSD_CreateLabel} 12u 47u -12u 36u "$(ForgetWhat)"
  Pop $0
  ${NSD_CreateLabel} 0 92u 100% 36u "$(NeverTouched)"
  Pop $0
  GetDlgItem $0 $HWNDPARENT 1
  SendMessage $0 ${WM_SETTEXT} 0 "STR:$(RemoveButton)"
  nsDialogs::Show
FunctionEnd

Function un.OptionsLeave
  ${NSD_GetState} $Choice $Forget
FunctionEnd

Section Uninstall
  Call un.QuitProgram
  ${If} $Forget = 1
    Call un.ForgetUser
  ${EndIf}
  Call un.TakeAside
  Delete "$INSTDIR\uninstall.exe"
  DeleteRegValue HKCU "${RUN_KEY}" "${RUN_VALUE}"
  DeleteRegValue HKCU "${APPROVED_KEY}" "${RUN_VALUE}"
  DeleteRegKey HKCU "${APP_ID_KEY}"
  DeleteRegKey HKCU "${UNINSTALL_KEY}"
  Delete "${SHORTCUT}"
  Call un.ClearUnpacked
  RMDir "$LOCALAPPDATA\Programs" ; only where we were alone in it
SectionEnd

; Settings, profiles, logs and tokens: the program knows where they are, so it deletes them itself.
Function un.ForgetUser
  nsExec::Exec /TIMEOUT=60000 '"$INSTDIR\kotaro-bridge.exe" forget-user --yes'
  Pop $0
  ${If} $0 == 0
    Return
  ${EndIf}
  MessageBox MB_YESNO|MB_ICONEXCLAMATION|MB_DEFBUTTON2 "$(NotForgotten)" /SD IDNO IDYES goOn
    SetErrorLevel 6
    Quit
  goOn:
FunctionEnd
